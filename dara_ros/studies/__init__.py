"""What the studies share: their schedule, their results file, and means with intervals.

schedule    many trials at once, over processes or Ray; what fails is tried again
rows        trials as a CSV file
estimators  one for all trials of the same data and seed
estimates   figures with bootstrap intervals
tables      lines for people
"""
