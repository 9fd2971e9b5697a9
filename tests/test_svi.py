"""SVI conditioning against the official layout, the joins' frame counts, and the colour match."""

from __future__ import annotations

import math
from typing import Any

import pytest

formats = pytest.importorskip("comfy.latent_formats")

import torch  # noqa: E402

from pack.nodes.clip_join import SVIProJoin  # noqa: E402
from pack.nodes.sampling.colour import colour_matched  # noqa: E402
from pack.nodes.sampling.svi import SviError, joined, overlap, svi_concat  # noqa: E402
from pack.nodes.svi_conditioning import SVIProConditioning  # noqa: E402
from rig.experts import load  # noqa: E402
from rig.tiny_models import name  # noqa: E402

SIZE = (4, 6)
LENGTHS = range(5, 82, 4)


@pytest.fixture(scope="module")
def model() -> Any:
    return load("i2v_high")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(7)


def latent(frames: int, batch: int = 1, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randn(batch, 16, frames, *size)


def images(frames: int, size: tuple[int, int] = (8, 12)) -> torch.Tensor:
    return torch.rand(frames, *size, 3)


def conditioned(model: Any, **inputs: Any) -> tuple[list[Any], list[Any], torch.Tensor]:
    """What the node gives for latents in place of LATENTs, a word for each conditioning."""
    inputs = {
        key: {"samples": value} if isinstance(value, torch.Tensor) else value
        for key, value in inputs.items()
    }
    positive, negative = [["p", {"kept": 1}]], [["n", {}]]
    out = SVIProConditioning.execute(positive, negative, model, **inputs).result
    assert (positive, negative) == ([["p", {"kept": 1}]], [["n", {}]])
    return out[0], out[1], out[2]["samples"]


def seen(model: Any, conditions: list[Any], noise: torch.Tensor) -> torch.Tensor:
    """Mask and image, (B, 20, T, H, W), as ComfyUI hands them to the expert."""
    return model.model.concat_cond(noise=noise, device=noise.device, **conditions[0][1])


def official(
    model: Any,
    anchor: torch.Tensor,
    previous: torch.Tensor | None,
    length: int,
    motion_latents: int,
    end: torch.Tensor | None,
) -> torch.Tensor:
    """wan_video_svi_pro.py: all normalised, padding is 0, and the mask is 1 where it is given."""
    normal = model.model.process_latent_in
    total = (length - 1) // 4 + 1
    parts = [normal(anchor)]
    if previous is not None and motion_latents:
        parts.append(normal(previous)[:, :, -motion_latents:])
    last = [] if end is None else [normal(end)]
    batch = max(len(part) for part in [*parts, *last])
    free = total - sum(part.shape[2] for part in [*parts, *last])
    parts += [torch.zeros(1, 16, free, *SIZE), *last]
    image = torch.cat([part.expand(batch, -1, -1, -1, -1) for part in parts], dim=2)
    mask = torch.zeros(batch, 4, *image.shape[2:])
    mask[:, :, :1] = 1
    if end is not None:
        mask[:, :, -end.shape[2] :] = 1
    return torch.cat([mask, image], dim=1)


@pytest.mark.parametrize("end", [0, 1, 2])
@pytest.mark.parametrize("motion_latents", [0, 1, 2, 3])
@pytest.mark.parametrize("batches", [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_the_expert_sees_what_the_official_code_shows_it(
    model: Any, batches: tuple[int, int], motion_latents: int, end: int
) -> None:
    """For every length; a batch of 1 serves both of the other."""
    for length in LENGTHS:
        total = (length - 1) // 4 + 1
        anchor, previous = latent(1, batches[0]), latent(21, batches[1])
        last = latent(end) if end else None
        inputs = {"anchor": anchor, "previous": previous, "length": length, "end": last}
        inputs["motion_latents"] = motion_latents
        if 1 + motion_latents + end > total:
            with pytest.raises(SviError, match="Set length to"):
                conditioned(model, **inputs)
            continue
        positive, negative, empty = conditioned(model, **inputs)
        batch = max(batches) if motion_latents else batches[0]
        assert empty.shape == (batch, 16, total, *SIZE) and not empty.any()
        assert positive[0][0] == "p" and positive[0][1]["kept"] == 1 and negative[0][0] == "n"
        expected = official(model, **inputs)
        assert torch.equal(seen(model, positive, torch.randn_like(empty)), expected)
        assert {**positive[0][1], "kept": 0} == {**negative[0][1], "kept": 0}


def test_the_first_clip_has_the_anchor_and_nothing(model: Any) -> None:
    anchor = latent(1)
    positive, _, empty = conditioned(model, anchor=anchor, length=81)
    image = seen(model, positive, empty)
    assert torch.equal(image[:, 4:, :1], model.model.process_latent_in(anchor))
    assert not image[:, :, 1:].any()


def test_the_raw_latents_are_those_of_kjnodes_node(model: Any) -> None:
    """nodes/nodes.py, WanImageToVideoSVIPro, for a batch of 1."""
    anchor, previous = latent(1), latent(21)
    positive, _, _ = conditioned(model, anchor=anchor, previous=previous, motion_latents=2)
    padding = formats.Wan21().process_out(torch.zeros(1, 16, 18, *SIZE))
    mask = torch.ones(1, 1, 21, *SIZE)
    mask[:, :, :1] = 0
    given = torch.cat([anchor, previous[:, :, -2:], padding], dim=2)
    assert torch.equal(positive[0][1]["concat_latent_image"], given)
    assert torch.equal(positive[0][1]["concat_mask"], mask)


def test_only_the_first_latent_of_a_long_anchor_is_masked(model: Any) -> None:
    """Masking more blends the anchors into each other."""
    inputs = {"anchor": latent(3), "previous": latent(5), "length": 33, "motion_latents": 1}
    positive, _, empty = conditioned(model, **inputs)
    assert torch.equal(seen(model, positive, empty), official(model, end=None, **inputs))


def test_half_precision_pads_with_zero_all_the_same(model: Any) -> None:
    anchor, previous = latent(1).half(), latent(5).bfloat16()
    positive, _, empty = conditioned(model, anchor=anchor, previous=previous, length=21)
    image = seen(model, positive, empty)
    assert not image[:, :, 2:].any()
    assert torch.equal(image[:, 4:, :1], model.model.process_latent_in(anchor.float()))


def test_a_batch_of_noise_takes_one_anchor(model: Any) -> None:
    """What RepeatLatentBatch behind the node makes of it."""
    positive, _, empty = conditioned(model, anchor=latent(1), length=9)
    image = seen(model, positive, empty.repeat(3, 1, 1, 1, 1))
    assert len(image) == 3 and torch.equal(image[0], image[2])


def test_the_end_of_a_video_serves_as_previous(model: Any) -> None:
    """1 + 4m frames encode to 1 + m latents; the first is of a single frame, and no motion."""
    import nodes

    (vae,) = nodes.VAELoader().load_vae(name("vae"))
    video = images(20, (16, 24))[-overlap(2) :]
    (encoded,) = nodes.VAEEncode().encode(vae, video)
    assert encoded["samples"].shape == (1, 16, 3, 2, 3)
    shared = {"anchor": latent(1, size=(2, 3)), "length": 33, "motion_latents": 2}
    positive, _, _ = conditioned(model, previous=encoded["samples"], **shared)
    motion = positive[0][1]["concat_latent_image"][:, :, 1:3]
    assert torch.equal(motion, encoded["samples"][:, :, 1:])


BROKEN = latent(1)
BROKEN[0, 3, 0, 2, 2] = math.nan


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"anchor": latent(1)[0]}, r"anchor has the shape \[16, 1, 4, 6\]"),
        ({"anchor": torch.zeros(1, 48, 1, *SIZE)}, r"anchor has the shape \[1, 48, .*Wan 2.1"),
        ({"anchor": latent(0)}, "anchor has the shape"),
        ({"anchor": BROKEN}, "anchor holds numbers that are not finite"),
        ({"previous": BROKEN}, "previous holds numbers that are not finite"),
        ({"end": BROKEN / 0}, "end holds numbers that are not finite"),
        (
            {"previous": latent(5, size=(8, 8))},
            r"anchor is 6 x 4 latents \(48 x 32 pixels\), previous is 8 x 8 latents \(64 x 64 p",
        ),
        ({"end": latent(1, size=(6, 4))}, r"end is 4 x 6 latents \(32 x 48 pixels\)"),
        ({"anchor": latent(1, 2), "previous": latent(5, 3)}, "anchor holds 2 and previous holds 3"),
        ({"previous": latent(2), "motion_latents": 3}, "motion_latents is 3; it must be 0 to 2"),
        ({"previous": latent(2), "motion_latents": -1}, "motion_latents is -1"),
        ({"length": 80}, "length is 80; .* such as 77"),
        ({"length": 1}, "length is 1; .* such as 5"),
        ({"anchor": latent(3), "end": latent(4), "length": 21}, "room for 6 latents, not for 7"),
        ({"anchor": latent(3), "end": latent(4), "length": 21}, "length to 25 or more"),
        ({"previous": 5}, "previous takes a link from VAE Encode or from a sampler, not 5"),
        ({"anchor": {}}, "anchor takes a link"),
    ],
)
def test_what_does_not_fit_stops_with_a_sentence(
    model: Any, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(SviError, match=message):
        conditioned(model, **{"anchor": latent(1), **inputs})


def test_a_model_that_would_ignore_the_anchor_is_refused() -> None:
    with pytest.raises(SviError, match="takes no anchor"):
        conditioned(load("t2v_high"), anchor=latent(1))


def test_a_previous_that_is_not_used_is_not_looked_at() -> None:
    """With 0 motion latents each clip starts from the anchor alone."""
    anchor = latent(1)
    with_it = svi_concat(anchor, BROKEN, 9, 0, None, formats.Wan21())
    without = svi_concat(anchor, None, 9, 0, None, formats.Wan21())
    assert all(torch.equal(*pair) for pair in zip(with_it, without, strict=True))


def all_joined(clips: list[torch.Tensor], motion_latents: int, join: str) -> torch.Tensor:
    held, ready = None, []
    for number, clip in enumerate(clips, start=1):
        last = number == len(clips)
        done, held = joined(held, clip, motion_latents, join, last)
        assert len(held) == (4 * motion_latents if join == "blend" and not last else 0)
        ready.append(done)
    return torch.cat(ready)


@pytest.mark.parametrize("join", ["cut", "blend"])
@pytest.mark.parametrize("motion_latents", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("length", [13, 81])
def test_both_joins_make_the_same_number_of_frames(
    length: int, count: int, motion_latents: int, join: str
) -> None:
    clips = [images(length) for _ in range(count)]
    frames = all_joined(clips, motion_latents, join)
    assert len(frames) == length + (length - overlap(motion_latents)) * (count - 1)
    if motion_latents == 1 and length == 81:
        assert len(frames) == 81 + 76 * (count - 1)


@pytest.mark.parametrize("motion_latents", [0, 1, 2, 3])
def test_a_cut_is_the_official_one(motion_latents: int) -> None:
    """inference_svi_2.0_pro.py: all frames += frames[num_overlap_frame:]."""
    clips = [images(17) for _ in range(3)]
    expected = torch.cat([clips[0], *(clip[1 + 4 * motion_latents :] for clip in clips[1:])])
    assert torch.equal(all_joined(clips, motion_latents, "cut"), expected)


@pytest.mark.parametrize("motion_latents", [1, 2, 3])
def test_a_blend_fades_without_the_anchor_frame(motion_latents: int) -> None:
    many = 4 * motion_latents
    clips = [images(33) for _ in range(3)]
    first, second, third = (clip.clone() for clip in clips)
    second[0], third[0] = math.nan, math.nan
    weights = torch.linspace(0, 1, many + 2)[1:-1].view(-1, 1, 1, 1)

    def faded(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        return (1 - weights) * before[-many:] + weights * after[1 : 1 + many]

    expected = torch.cat(
        [
            first[:-many],
            faded(first, second),
            second[1 + many : -many],
            faded(second, third),
            third[1 + many :],
        ]
    )
    frames = all_joined([first, second, third], motion_latents, "blend")
    torch.testing.assert_close(frames, expected)


@pytest.mark.parametrize("join", ["cut", "blend"])
def test_clips_of_one_colour_stay_one_colour(join: str) -> None:
    frames = all_joined([torch.full((13, 4, 4, 3), 0.3) for _ in range(4)], 3, join)
    assert torch.equal(frames, torch.full_like(frames, 0.3))


@pytest.mark.parametrize("join", ["cut", "blend"])
def test_one_clip_alone_comes_out_as_it_is_and_is_not_copied(join: str) -> None:
    clip = images(3)
    ready, held = joined(None, clip, 3, join, last=True)
    assert torch.equal(ready, clip) and not len(held)
    assert ready.data_ptr() == clip.data_ptr()


def test_what_is_held_back_does_not_keep_its_clip_in_memory() -> None:
    clip = images(81)
    for join, frames in (("cut", 0), ("blend", 4)):
        ready, held = joined(None, clip, 1, join, last=False)
        assert ready.data_ptr() == clip.data_ptr()
        assert held.untyped_storage().nbytes() == frames * clip[0].numel() * 4
        after, _ = joined(held, clip, 1, "cut", last=True)
        assert join == "blend" or after.data_ptr() == clip[5:].data_ptr()


@pytest.mark.parametrize(
    ("held", "frames", "motion_latents", "join", "message"),
    [
        (images(4), images(9, (8, 8)), 1, "blend", "The clips are 12 x 8 pixels with 3 cha"),
        (torch.rand(4, 8, 12, 4), images(9), 1, "blend", "4 channels, and 12 x 8 pixels with 3"),
        (images(9), images(9), -1, "cut", "motion_latents is -1; it must be 0 or"),
        (images(0), images(4), 1, "cut", "To cut with .* 1, a clip needs 5 frames .* has 4"),
        (images(4), images(4), 1, "blend", "To blend with .* 1, a clip needs 5 frames .* has 4"),
        (None, images(7), 2, "blend", "To blend with .* 2, a clip needs 8 frames .* has 7"),
        (images(4), images(81), 2, "blend", "4 frames were held back, .* asks for 8"),
        (None, images(9), 1, "fade", "join is 'fade'; it must be cut or blend"),
    ],
)
def test_clips_that_can_not_be_joined_stop_with_a_sentence(
    held: torch.Tensor | None, frames: torch.Tensor, motion_latents: int, join: str, message: str
) -> None:
    with pytest.raises(SviError, match=message):
        joined(held, frames, motion_latents, join, last=False)


@pytest.mark.parametrize("join", ["cut", "blend"])
def test_the_node_joins_as_the_clips_of_one_run_are(join: str) -> None:
    """Clip after clip by hand gives the frames of all clips at once."""
    clips = [images(21) for _ in range(3)]
    frames = clips[0]
    for clip in clips[1:]:
        (frames,) = SVIProJoin.execute(frames, clip, 2, join).result
    assert torch.equal(frames, all_joined(clips, 2, join))


def test_the_node_matches_only_the_new_clip() -> None:
    before, clip, anchor = images(9), images(9) * 0.5, images(1)
    (frames,) = SVIProJoin.execute(before, clip, 1, "cut", 1.0, anchor).result
    assert torch.equal(frames[:9], before)
    assert torch.equal(frames[9:], colour_matched(clip, anchor, 1.0)[5:])
    with pytest.raises(SviError, match="Connect the anchor image"):
        SVIProJoin.execute(before, clip, colour_match=0.5)


def lab_statistics(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from kornia.color import rgb_to_lab

    lab = rgb_to_lab(frames.double().movedim(-1, 1)).movedim(1, 0).flatten(1)
    return lab.mean(dim=1), lab.std(dim=1, correction=0)


def test_the_match_gives_the_clip_the_colours_of_the_anchor() -> None:
    """19 frames are more than one piece, and not a multiple of it."""
    clip, anchor = (
        0.5 + 0.1 * images(19),
        (0.3 + 0.2 * images(1, (16, 9))) * torch.tensor([1.0, 0.8, 0.6]),
    )
    matched = colour_matched(clip, anchor, 1.0)
    for ours, wanted in zip(lab_statistics(matched), lab_statistics(anchor), strict=True):
        torch.testing.assert_close(ours, wanted, atol=1e-2, rtol=0)
    half = colour_matched(clip, anchor, 0.5)
    torch.testing.assert_close(half, (clip + matched) / 2)
    assert colour_matched(clip, anchor, 0.0) is clip


def test_a_clip_with_the_anchors_colours_keeps_them() -> None:
    """To less than half a step of 8 bits; also one that is all black, or white, or noise."""
    flat = (torch.full((1, 4, 4, 3), value) for value in (0.0, 0.5, 1.0))
    for anchor in (images(1, (32, 32)), *flat):
        clip = anchor.repeat(5, 1, 1, 1)
        torch.testing.assert_close(colour_matched(clip, anchor, 1.0), clip, atol=0.5 / 255, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_flat_clip_becomes_the_anchors_mean_and_no_noise(value: float) -> None:
    clip = torch.full((6, 4, 4, 3), value) + 1e-5 * images(6, (4, 4))
    matched = colour_matched(clip, images(1), 1.0)
    assert matched.isfinite().all() and matched.min() >= 0 and matched.max() <= 1
    assert matched.flatten(0, 2).std(dim=0).max() < 0.01
    goal = torch.full((1, 8, 12, 3), 0.25)
    torch.testing.assert_close(
        colour_matched(images(6), goal, 1.0), goal.expand(6, 8, 12, 3), atol=0.01, rtol=0
    )


def test_a_match_is_the_same_change_in_every_frame_and_in_half_precision() -> None:
    clip, anchor = images(9), images(1)
    clip[7] = clip[0]
    matched = colour_matched(clip, anchor, 1.0)
    assert torch.equal(matched[7], matched[0])
    assert colour_matched(clip.half(), anchor, 1.0).dtype == torch.half


@pytest.mark.parametrize(
    ("clip", "anchor", "amount", "message"),
    [
        (images(2), images(1), 1.1, "amount of colour match is 1.1"),
        (images(2), images(1), math.nan, "amount of colour match is nan"),
        (torch.rand(2, 4, 4, 4), images(1), 1.0, "of the clip have the shape"),
        (images(2), images(1)[0], 1.0, "of the anchor have the shape"),
    ],
)
def test_a_match_that_can_not_be_made_stops_with_a_sentence(
    clip: torch.Tensor, anchor: torch.Tensor, amount: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        colour_matched(clip, anchor, amount)
