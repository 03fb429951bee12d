"""Tests of contracts: a case is played on the real runtime in virtual time, and judged by what its author expects."""

from omnibase_core.rehearsal.coverage import Coverage
from omnibase_core.rehearsal.record import Record
from omnibase_core.rehearsal.stage import Stage
from omnibase_core.rehearsal.verdict import Failure, judge

__all__ = ["Coverage", "Failure", "Record", "Stage", "judge"]
