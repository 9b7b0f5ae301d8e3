"""Tuning: the free parameters of a policy, chosen by what they make of recorded incidents."""
