"""What a courier carries between a hub that sees no internet and its cloud: files, signed and encrypted.

The files stand in for the other side: to the cloud one is a hub that pushes and reads (`carried_hub`), to a hub one is
a cloud that answers (`carried_cloud`). Who brings whom into step is `medxz.replicate`, as over a wire.
"""
