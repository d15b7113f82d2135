"""The fixed noise against recorded values of the release."""

import numpy as np

from fac_jax.codec.cosyvoice.noise import release_noise


def test_noise_is_that_of_the_release():
    flow, source = release_noise()
    assert flow.shape == (15000, 80) and source.shape == (720_000, 9)
    # First values of the release's buffers after its load order (docs/codec_model.md, section 5).
    np.testing.assert_allclose(flow[:4, 0], [-1.1258398, -1.1523602, -0.2505786, -0.4338788], atol=5e-7)
    np.testing.assert_array_equal(source[0, :3], np.float32([0.9228260, 0.4774475, 0.8270518]))
