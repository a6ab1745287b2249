"""What a write answers where there is no room: one rule for all that is written."""

from __future__ import annotations

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room on the disk, in the user's quota, or under the process's limit on the size of a file."""
