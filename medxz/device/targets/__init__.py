"""Where a device goes: hub, cloud, or nobody for now; which it is at this moment, and when it changes.

    routing    which kinds of servers a role tries, in which order
    health     when a server that was left may be taken again: left at once, taken again slowly
    pulse      whether a server still speaks: a hub that is gone or hangs is noticed within two seconds
    ways       a way to one server: by which certificates, with whose token
    search     who else is there: everybody is asked at once, whom the device prefers has a short lead
    chain      all of it together: one sync, or staying in step

An op's safety is counted by the logs of the servers that have it, whichever took it: moving changes nothing of it.
"""
