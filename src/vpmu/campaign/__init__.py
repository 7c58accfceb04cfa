"""Many runs: the catalogue of failure scenarios, the oracle that says what a count should have been,
campaigns.
"""

from __future__ import annotations
