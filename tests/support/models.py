"""Functions of tests that take and give models: a module of its own, since the others must not import pydantic."""

from pydantic import BaseModel


class Lead(BaseModel):
    """What is taken."""

    visits: int


class Score(BaseModel):
    """What is given."""

    score: int


def score(lead: Lead) -> Score:
    """Weigh a lead."""
    return Score(score=lead.visits * 5)
