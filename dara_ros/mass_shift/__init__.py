"""The seeds' tables, MuJoCo's Hopper and Walker2d with other masses: `dara benchmark mujoco`.

study       what is compared with what, as data
learners    every algorithm's networks and warm-up
trials      from data sets over training, alone or together, to a score
published   the seeds' own numbers
scores      means and their intervals, who is above whom
page        the tables, the plot and the report
"""
