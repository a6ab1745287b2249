"""What a prepared store holds, and what is wrong with it: counts, picture statistics, copies, blanks, conflicts."""

from loaders.checking.copies import drop_duplicates
from loaders.checking.findings import Findings, check
from loaders.checking.report import print_findings, write_report

__all__ = ["Findings", "check", "drop_duplicates", "print_findings", "write_report"]
