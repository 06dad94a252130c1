"""What a flashed box does before it is a hub: the card's file read and applied, the claim, and who is told of it.

Two parts, kept apart on purpose. `applying` runs as root at each start, before the network, and reads the card.
`claiming` runs as the hub's user until the box is claimed, and faces the network; what it has to say it leaves in a file
without secrets, and `reporting`, as root, puts that on the screen and the card. docs/first-boot.md is for people.
"""
