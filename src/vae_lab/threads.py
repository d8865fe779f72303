"""The lock of what belongs to the whole process: torch's generators, standard output, Hydra's state."""

from __future__ import annotations

import threading

one_thread = threading.RLock()
"""Held by a thread that trains, composes, or draws from a seed; others wait, because these would mix their numbers."""
