"""Tests of contracts: a case is played on the real runtime in virtual time, and judged by what its author expects."""

from omnibase_core.contract_tests.coverage import Coverage
from omnibase_core.contract_tests.expectations import FailedExpectation, judge
from omnibase_core.contract_tests.runner import Stage
from omnibase_core.contract_tests.scripted_handler import Record

__all__ = ["Coverage", "FailedExpectation", "Record", "Stage", "judge"]
