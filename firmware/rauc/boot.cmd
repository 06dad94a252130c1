# U-Boot on a Pi: which slot is started. RAUC sets BOOT_ORDER, BOOT_A_LEFT and BOOT_B_LEFT through fw_setenv; here each
# start takes one from the slot's tries, and what never confirms itself is left for the other one. It is made into
# boot.scr by `mkimage -A arm64 -T script -C none -d boot.cmd boot.scr`.

test -n "${BOOT_ORDER}" || setenv BOOT_ORDER "A B"
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT 3
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT 0

setenv slot
for candidate in "${BOOT_ORDER}"; do
  if test "x${slot}" != "x"; then
    # it is found
    true
  elif test "x${candidate}" = "xA"; then
    if test ${BOOT_A_LEFT} -gt 0; then
      setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1
      setenv slot A
      setenv number 2
    fi
  elif test "x${candidate}" = "xB"; then
    if test ${BOOT_B_LEFT} -gt 0; then
      setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1
      setenv slot B
      setenv number 3
    fi
  fi
done

if test "x${slot}" = "x"; then
  echo "No slot has a try left: both get new ones"
  setenv BOOT_A_LEFT 3
  setenv BOOT_B_LEFT 3
  saveenv
  reset
fi
saveenv

# which disk it is the first system finds by itself: the one with this card. The first system is loaded above
# where a kernel ends, and below where firmware (and QEMU, at 128 MiB) leaves the device tree
setenv bootargs "ro rauc.slot=${slot} panic=10 console=tty0 console=ttyS1,115200 quiet"
setenv initrd_addr 0x04000000
echo "Starting slot ${slot}"
# a Pi's own firmware leaves the device tree of its board; where there is none, U-Boot's own is as good
setenv tree ${fdtcontroladdr}
if test -n "${fdt_addr}"; then
  if fdt addr ${fdt_addr}; then
    setenv tree ${fdt_addr}
  fi
fi
if load ${devtype} ${devnum}:${number} ${kernel_addr_r} /boot/vmlinuz; then
  if load ${devtype} ${devnum}:${number} ${initrd_addr} /boot/initrd.img; then
    booti ${kernel_addr_r} ${initrd_addr}:${filesize} ${tree}
  fi
fi
# it did not start: the next of its tries
reset
