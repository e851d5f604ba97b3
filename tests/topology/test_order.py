"""Orders by counting are those of numpy, which compares."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hlsim.topology.order import order

DTYPES = st.sampled_from([np.int8, np.int32, np.int64, np.bool_])


@st.composite
def keys(draw: st.DrawFn) -> list[np.ndarray]:
    rows, most = draw(st.integers(1, 60)), draw(st.sampled_from([1, 3, 2**15, 2**17, 2**40, 2**62]))
    made = []
    for _ in range(draw(st.integers(1, 3))):
        dtype: Any = np.dtype(draw(DTYPES))
        least, largest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        low, top = max(-most // 2, least), min(most, largest)
        made.append(draw(arrays(np.int64, rows, elements=st.integers(low, top))).astype(dtype))
    return made


@given(keys())
def test_rows_are_ordered_as_by_comparing_them(columns: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(order(*columns), np.lexsort(columns))


def test_rows_in_order_stay_where_they_are() -> None:
    np.testing.assert_array_equal(order(np.array([0, 0, 0]), np.array([-5, 2, 2**50])), [0, 1, 2])
