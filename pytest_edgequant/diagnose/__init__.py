"""Why a gate is red, and what to try next."""
