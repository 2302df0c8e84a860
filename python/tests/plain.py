"""The network of most tests: with the settings of the paper, whose equations are easy to compute by hand."""

import zilch_pc


class Network(zilch_pc.Network):
    """A network with sigmoid units and plain steps of summed changes, unless a test says otherwise."""

    def __init__(self, layers, rule="zil", **options):
        super().__init__(layers, rule, **{"preset": "paper", "lr": 0.01, **options})
