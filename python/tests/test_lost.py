"""A GPU that is lost: the training goes on to the same bits, and nothing that was read is lost."""

import threading
import time
import warnings

import pytest
import zilch_pc
from plain import Network
from zilch_pc import errors

pytestmark = pytest.mark.skipif(not zilch_pc.devices(), reason="there is no GPU, and no software one")
LAYERS = [784, 32, 32, 10]


def network(rule="zil", **options):
    return Network(LAYERS, rule, device="gpu", seed=4, optimizer="adam", lr=1e-3, **options)


def lose(network, at):
    """A callback that gives the device up after these epochs."""

    def after(_, row):
        if row["epoch"] in at:
            network._core.lose()

    return after


@pytest.mark.parametrize("rule", ["zil", "ep"])
def test_a_fit_goes_on(rule, digits, bits):
    # ep has a state for each example.
    x, y, x_test, y_test = (part[:100] for part in digits)
    whole = network(rule).fit(x, y, epochs=3, validation=(x_test, y_test))
    lost = network(rule)
    with pytest.warns(errors.LostWarning, match="after 5 updates") as told:
        lost.fit(x, y, epochs=3, callback=lose(lost, [1]), validation=(x_test, y_test))
    assert len(told) == 1 and bits(whole, lost) and lost.updates == 15
    for row, other in zip(whole.history, lost.history):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    # It is as good as new.
    assert bits(whole.fit(x, y), lost.fit(x, y)) and (whole.predict(x_test) == lost.predict(x_test)).all()


def test_in_the_midst_of_an_epoch(digits, bits):
    x, y, *_ = digits
    x = (x / 255).astype("f4")
    start = time.perf_counter()
    whole = network().fit(x, y, epochs=6)
    took = time.perf_counter() - start
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # Until it hits one that has not ended.
        for part in (2, 3, 4, 6, 8):
            lost = network()
            threading.Timer(took / part, lost._core.lose).start()
            lost.fit(x, y, epochs=6)
            assert bits(whole, lost) and lost.updates == 180
            time.sleep(took)
            if told:
                break
    assert any(issubclass(one.category, errors.LostWarning) for one in told)


def test_three_times_and_no_more(digits, bits):
    x, y = (part[:200] for part in digits[:2])
    lost, whole = network(), network()
    with pytest.warns(errors.LostWarning) as told, pytest.raises(errors.GpuError, match="3 times"):
        lost.fit(x, y, epochs=9, callback=lose(lost, range(9)))
    assert len(told) == 3 and lost.updates == 40 and len(lost.history) == 4
    # The network has the last good state, and goes on with the epoch that was not made.
    assert bits(lost, whole.fit(x, y, epochs=4))
    assert bits(lost.fit(x, y, epochs=2), whole.fit(x, y, epochs=2))


def test_a_warning_that_is_an_error_loses_nothing(digits, bits):
    x, y = (part[:100] for part in digits[:2])
    lost = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.LostWarning):
            lost.fit(x, y, epochs=3, callback=lose(lost, [1]))
    assert lost.updates == 10 and bits(lost, network().fit(x, y, epochs=2))


def test_steps_and_predictions(digits, bits):
    x, y, *_ = digits
    lost, other = network(), network()
    lost.step(x[:20], y[:20])
    other.step(x[:20], y[:20])
    for _ in range(2):
        lost.step(x[:20], y[:20], read=False)
    lost._core.lose()
    with pytest.raises(errors.GpuError, match="after 1 updates: 2 more had not been read"):
        lost.step(x[:20], y[:20])
    # One network says what was lost. The other, on the same device, has lost nothing.
    assert lost.updates == 1 and bits(lost, other)
    assert (lost.predict(x[:5]) == other.predict(x[:5])).all()
    lost.step(x[:20], y[:20])
    other.step(x[:20], y[:20])
    assert bits(lost, other)
    # What fails before the first update is told at once.
    lost._core.lose()
    with pytest.raises(errors.GpuError, match="reopened: try again"):
        lost.fit(x, y)
    assert bits(lost.fit(x, y), other.fit(x, y))
