"""The seeds' own numbers: the slides of DARA (Liu, Zhang, Wang, ICLR 2022), both tables "Body Mass Shift".

Normalised scores in the MuJoCo and on the D4RL data of the paper, and of its own shift of masses, which is
not public. They are shown beside ours, and never used for anything else.
"""

from __future__ import annotations

from functools import cache

#: The columns of a block below; AWR was not tuned. The second table says of DARA what the first does.
COLUMNS = ("10T", "1T", "union", "dara", "tune")
#: MABE's columns as the seeds head them. Which of them is which of our modes is not known.
MABE_COLUMNS = ("pi_p T^", "T^ pi_p")
NUMBERS = """
hopper bear
random           11.4    1.0    4.6    8.4    0.8
medium           52.1    0.8    0.9    1.6    0.8
medium-replay    33.7    1.3   18.2   34.1    0.7
medium-expert    96.3    0.8    0.6    1.2    0.9
hopper brac-p
random           11.0   10.9    9.6   11.0    6.0
medium           32.7   29.0   29.2   32.9   22.7
medium-replay     0.6    5.4   20.1   30.8   14.7
medium-expert     1.9   34.5   32.3   34.7   19.2
hopper awr
random           10.2   10.3    3.4    4.5
medium           35.9   30.9   20.8   28.9
medium-replay    28.4    8.8    4.1    4.2
medium-expert    27.1   27.0   26.8   26.6
hopper bcq
random           10.6   10.6    8.3    9.7    8.8
medium           54.5   37.1   25.7   38.4   31.7
medium-replay    33.1    9.3   28.7   32.8   27.5
medium-expert   110.9   58.0   75.4   84.2   85.9
hopper cql
random           10.8   10.6   10.2   10.4   31.6
medium           58.0   43.0   44.9   59.3   44.5
medium-replay    48.6    9.6    1.4    3.7    1.3
medium-expert    98.7   59.7   53.6   99.7   47.6
hopper mopo
random           11.7    4.8    2.0    2.1    0.7
medium           28.0    4.1    5.0   10.7    0.7
medium-replay    67.5    1.0    5.5    8.4    0.6
medium-expert    23.7    1.6    4.8    5.8    2.2
walker2d bear
random            7.3    1.5    3.1    3.2    6.6
medium           59.1   -0.5    0.6    0.3    0.3
medium-replay    19.2    0.7    6.5    7.3    1.2
medium-expert    40.1   -0.1    1.5    2.3    2.4
walker2d brac-p
random           -0.2    0.0    1.3    3.2    3.9
medium           77.5    6.4   70.0   78.0   76.0
medium-replay    -0.3    8.5    9.9   18.6   10.0
medium-expert    76.9   20.6   64.1   77.5   74.5
walker2d awr
random            1.5    1.3    2.0    2.4
medium           17.4   14.8   17.1   17.2
medium-replay    15.5    7.4    1.6    1.5
medium-expert    53.8   35.5   52.5   53.3
walker2d bcq
random            4.9    1.8    4.5    4.8    4.7
medium           53.1   32.8   50.9   52.3   28.4
medium-replay    15.0    6.9   14.9   15.1   10.4
medium-expert    57.5   32.5   55.2   57.2   22.7
walker2d cql
random            7.0    1.7    3.2    3.4    1.1
medium           79.2   42.9   80.0   81.7   72.3
medium-replay    26.7    4.6    0.8    2.0    1.8
medium-expert   111.0   49.5   63.5   93.3   68.6
walker2d mopo
random           13.6   -0.2   -0.1   -0.1    0.1
medium           17.8    7.0    5.7   11.0   -0.2
medium-replay    39.0    5.1    3.1   14.2    0.0
medium-expert    44.6    5.3    5.5   17.2    7.3
"""
MABE_NUMBERS = """
hopper mabe
random           10.6    9.0
medium           48.8   23.1
medium-replay    17.1   20.4
medium-expert    28.1   38.9
walker2d mabe
random            6.0   -0.2
medium           30.1   56.7
medium-replay    13.3   12.5
medium-expert    43.7   82.7
"""


@cache
def published() -> dict[tuple[str, str, str, str], float]:
    """The score for (task, data set, algorithm, column)."""
    return _read(NUMBERS, COLUMNS) | _read(MABE_NUMBERS, MABE_COLUMNS)


def _read(text: str, columns: tuple[str, ...]) -> dict[tuple[str, str, str, str], float]:
    found = {}
    for line in text.split("\n"):
        first, *rest = line.split() or [""]
        if len(rest) == 1:
            task, algorithm = first, rest[0]
        for column, value in zip(columns, rest if len(rest) > 1 else (), strict=False):
            found[task, first, algorithm, column] = float(value)
    return found
