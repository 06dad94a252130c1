"""Meaning: the state, conflicts and history of an entity, worked out from the set of its ops.

Everything here is pure: no IO, no clock, no order of arrival. Hub, cloud and devices run the same code over the same
ops and agree without talking about it. docs/protocol.md section 6 says the rules, docs/decisions/0030 why they are so.
"""
