"""Thin typed models of the FHIR R4 resources that a clinic records, and what is wrong with a payload by them.

    problems = problems_of("Patient", 1, "create", payload)

Only a device asks, before it records. A server stores and relays what it does not understand.
"""

from medxz.resources.base import Problem
from medxz.resources.problems import MODELS, problems_of

__all__ = ["MODELS", "Problem", "problems_of"]
