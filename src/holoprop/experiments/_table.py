"""All experiments, in the order in which they are listed and run."""

from holoprop.experiments._cost import COST
from holoprop.experiments._exactness import EXACTNESS
from holoprop.experiments._experiment import Experiment
from holoprop.experiments._fig2 import FIG2
from holoprop.experiments._fig3 import FIG3
from holoprop.experiments._fig4 import FIG4
from holoprop.experiments._fig5 import FIG5
from holoprop.experiments._fig6 import FIG6
from holoprop.experiments._fig7 import FIG7
from holoprop.experiments._spectrum import SPECTRUM
from holoprop.experiments._table1 import TABLE1
from holoprop.experiments._table2 import TABLE2
from holoprop.experiments._table4 import TABLE4

_FIGURES = (FIG2, FIG3, FIG4, FIG5, FIG6, FIG7)
_TABLES = (TABLE1, TABLE2, TABLE4)
_BEYOND = (EXACTNESS, SPECTRUM, COST)


def experiments() -> dict[str, Experiment]:
    """By name.

    Example:
        >>> list(experiments())[:3]
        ['fig2', 'fig3', 'fig4']
    """
    return {experiment.name: experiment for experiment in (*_FIGURES, *_TABLES, *_BEYOND)}
