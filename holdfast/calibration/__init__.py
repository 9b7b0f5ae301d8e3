"""Calibration: placebo rollouts cut from one's own history, and what a policy makes of them."""
