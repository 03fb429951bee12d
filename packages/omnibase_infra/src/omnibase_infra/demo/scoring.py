"""The logic of the example compute nodes: pure functions of one argument."""

from collections.abc import Mapping
from typing import Any

_VALUED_INDUSTRIES = frozenset({"energy", "finance", "health"})


def score_lead(lead: Mapping[str, Any]) -> dict[str, Any]:
    """Weigh the size of a company, its interest and its industry."""
    size = min(lead["company_size"] // 10, 40)
    interest = min(lead["visits"] * 5, 40)
    industry = 20 if lead.get("industry") in _VALUED_INDUSTRIES else 0
    score = size + interest + industry
    return {"score": score, "grade": "A" if score >= 70 else "B" if score >= 40 else "C"}


def mask_email(email: str) -> dict[str, str]:
    """Keep the first letter and the domain."""
    local, _, domain = email.rpartition("@")
    return {"masked": f"{local[0]}{'*' * (len(local) - 1)}@{domain}", "domain": domain}
