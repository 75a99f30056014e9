"""The seeds' sim-to-real comparison, PyBullet's worlds for the robot: `dara benchmark sim2real`.

study       what is compared with what, as data
trials      one trial after the other: data sets, classifiers, training, evaluation
schedule    many cells at once, over processes or Ray
scores      interquartile means and their intervals
page        the report
"""
