"""The seeds' sim-to-real comparison, PyBullet's worlds for the robot: `dara benchmark sim2real`.

study       what is compared with what, as data
trials      one trial after the other: data sets, classifiers, training, evaluation
scores      interquartile means and their intervals
page        the report
"""
