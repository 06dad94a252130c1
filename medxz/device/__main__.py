"""`python -m medxz.device` is `medxz`."""

from medxz.device.cli import main

if __name__ == "__main__":
    main()
