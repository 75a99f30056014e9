"""The algorithms as one writes them down from the papers, with torch.nn and autograd and nothing else.

They are the yardsticks of dara_ros/bench/train.py and the references that the updates are tested against.
"""
