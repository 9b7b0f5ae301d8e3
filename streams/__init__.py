"""Data coming in and flowing through: recordings, series, ticks, cohorts, the judge and the replay."""
