"""Runs our networks on the goldens' inputs: ``run_case(case, spec, inputs, fill)`` to a table of arrays.

``fill(name, shape)`` is the value of an entry of the published checkpoint. Everything goes through the code that
generates avatars; what is computed here is only what that code does not need by itself.
"""

import dataclasses

import numpy as np
import torch

from backend.morphable import autoencoder, guidance, meshes, objective, schedule, spatial_volume, views, voxels
from backend.morphable.config import MorphableConfig
from backend.morphable.depth_attention import DepthBlock
from backend.morphable.embeddings import TimeEmbedding, view_embedding, wave_embedding
from backend.morphable.frustum import FrustumNet
from backend.morphable.image_encoder import ImageEncoder, clip_pixels
from backend.morphable.model import Condition, MorphableDiffusion
from backend.morphable.names import published_name
from backend.morphable.sampler import denoise
from backend.morphable.scene import make_scene
from backend.morphable.sparse_conv import SparseNet, SparsePyramid
from backend.morphable.spatial_volume import VertexLayer
from backend.morphable.target_encoder import TargetEncoder
from backend.morphable.unet import ViewUNet
from backend.morphable.voxels import Voxels
from tests.morphable.invented import fill_module

WHOLE = MorphableConfig()


def run_case(case, spec, inputs, fill):
    """The outputs of one case as numpy arrays."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
    name = next(prefix for prefix in sorted(RUNNERS, key=len, reverse=True) if case.startswith(prefix))
    with torch.set_grad_enabled(case == "train_loss_small"):
        outputs = RUNNERS[name](spec, tensors, lambda module, prefix="": fill_module(module, prefix, fill))
    return {
        key: value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        for key, value in outputs.items()
    }


def build(kind, *arguments, **options):
    """A module without weights."""
    with torch.device("meta"):
        return kind(*arguments, **options)


def config_of(spec):
    """Our configuration of a case's U-Net, projection and dense branch."""
    unet = spec.get("unet_config") or spec.get("config")
    config = dataclasses.replace(
        WHOLE, projection=spec.get("projection", "perspective"), dense_branch=spec.get("use_spatial_volume", False)
    )
    if unet is None:
        return config
    widths = tuple(unet["model_channels"] * factor for factor in unet["channel_mult"])
    return dataclasses.replace(config, unet_channels=widths, volume_channels=tuple(unet["volume_dims"]))


def run_schedule(spec, given, fill):
    steps = spec["ddim_steps"]
    plan = schedule.scheduler(steps)
    times = plan.timesteps.flip(0)
    kept = plan.alphas_cumprod.double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    betas = plan.betas.double()
    posterior = betas * (1 - before) / (1 - kept)
    last = schedule.STEPS // steps
    variances = torch.tensor([float(plan._get_variance(int(t), int(t) - last)) for t in times])
    return {
        "betas": betas,
        "alphas": plan.alphas,
        "alphas_cumprod": kept,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "posterior_variance": posterior,
        "posterior_log_variance_clipped": posterior.log().clamp(min=-10),
        "ddim_timesteps": times,
        "ddim_alphas": kept[times],
        "ddim_alphas_prev": torch.cat([plan.final_alpha_cumprod[None].double(), kept[times[:-1]]]),
        "ddim_sigmas": variances.sqrt() * spec["eta"],
        "ddim_sqrt_one_minus_alphas": (1 - kept[times]).sqrt(),
    }


def run_rate(spec, given, fill):
    return {"multiplier": [objective.rate_factor(int(step)) for step in given["step"]]}


def run_wave(spec, given, fill):
    return {f"emb{size}": wave_embedding(given["t"], size, spec["max_period"]) for size in spec["dims"]}


def run_time(spec, given, fill):
    return {"out": fill(build(TimeEmbedding), "time_embedding.")(given["t"])}


def run_view_embedding(spec, given, fill):
    return {"out": view_embedding_of(given, torch.deg2rad)}


def view_embedding_of(given, convert=lambda angle: angle):
    names = ("target_azimuth", "target_elevation", "input_azimuth", "input_elevation")
    return view_embedding(*(convert(given[name]) for name in names))


def run_face_cameras(spec, given, fill):
    made = views.face_views(spec["views"], spec["radius"], spec["focal"], spec["image_size"])
    return {"K": made.intrinsics[0], "RT": made.world_to_camera[0]}


def run_body_cameras(spec, given, fill):
    made = views.body_views(spec["views"], spec["distance"], spec["ortho_scale"])
    return {"K": made.intrinsics[0], "RT": made.world_to_camera[0]}


def run_capture_cameras(spec, given, fill):
    made = views.capture_views()
    return {"K3": made.intrinsics[0, :, :3, :3], "RT": made.world_to_camera[0]}


def run_tracker(spec, given, fill):
    return {"vertices_world": meshes.TRACKED(given["vertices"].numpy())}


def run_voxelize(spec, given, fill):
    made = voxels.voxelize(given["vertices"])
    return {"coord": made.coordinates, "out_sh": torch.tensor(made.size), "bounds": made.bounds}


def run_project(spec, given, fill):
    """Each row of the points has one camera."""
    cameras = views.Views(given["K"][:, None], given["RT"][:, None], spec["projection"], spec["input_size"])
    points = given["points"]
    grid = cameras.sampling_grid(points.flatten(2).transpose(1, 2), spec["warp_size"])
    return {"grid": grid[:, 0].unflatten(1, points.shape[2:])}


def run_frustum_grid(spec, given, fill):
    cameras = views.Views(given["K"][:, None], given["RT"][:, None], spec["projection"], spec["image"])
    points = cameras.frustum_points(spec["depth"], spec["size"])
    return {"xyz": points[:, 0].permute(0, 4, 1, 2, 3), "depth": cameras.frustum_depths(spec["depth"])}


def run_target_encoder(spec, given, fill):
    net = fill(build(TargetEncoder, 4, 16), "spatial_volume.target_encoder.")
    return {"out": net(given["x"], given["t_embed"], given["v_embed"])}


def run_vertex_layer(spec, given, fill):
    return {"out": fill(build(VertexLayer, 16), "spatial_volume.vertex_layer.")(given["features"])}


def run_sparse_net(spec, given, fill):
    depth, height, width = given["out_sh"].tolist()
    pyramid = SparsePyramid.of(Voxels(given["coord"], (depth, height, width), torch.zeros(2, 3)))
    net = fill(build(SparseNet, 16, 64), "spatial_volume.sparse_net.")
    return {"volume": net(given["features"], pyramid)[None]}


def scene_of(given, config):
    """The case's cameras and mesh; the voxels that come with it must be those that we find."""
    cameras = views.Views(given["target_K"], given["target_RT"], config.projection)
    for vertices, coordinates in zip(given["vertices"], given["coord"], strict=True):
        assert torch.equal(voxels.voxelize(vertices).coordinates, coordinates)
    directions = given["v_embed"] if "v_embed" in given else view_embedding_of(given)
    return make_scene(cameras, given["vertices"], config, directions)


def run_spatial_volume(spec, given, fill):
    config = config_of(spec)
    net = fill(build(spatial_volume.SpatialVolume, config), "spatial_volume.")
    scene = scene_of(given, config)
    features = net.at_vertices(net.lift(given["x"], given["t_embed"], scene), scene)
    return {"volume": net(given["x"], given["t_embed"], scene), "vertex_features": features.transpose(1, 2)}


def run_frustum_net(spec, given, fill):
    net = fill(build(FrustumNet, WHOLE.volume_channels), "frustum_net.")
    return by_width(net(given["x"], given["t_embed"], given["v_embed"]))


def by_width(features):
    return {f"w{each.shape[-1]}": each for each in features}


def run_view_frustum(spec, given, fill):
    """From the volume of a scene without a mesh worth speaking of."""
    config = config_of(spec)
    net = fill(build(FrustumNet, config.volume_channels), "frustum_net.")
    cameras = views.Views(given["target_K"], given["target_RT"], config.projection)
    scene = make_scene(cameras, torch.rand(1, 8, 3), config, given["v_embed"])
    model = build(MorphableDiffusion, config)
    model.frustum_net, model.time_embedding = net, torch.nn.Identity()
    return by_width(model.frusta(given["volume"], given["t_embed"], scene, given["target_index"]))


def run_depth_block(spec, given, fill):
    block = fill(build(DepthBlock, spec["dim"], spec["context_dim"]), our_prefix(spec["prefix"]))
    nothing = torch.zeros_like(given["context"])
    return {"out": block(given["x"], given["context"]), "out_zero_context": block(given["x"], nothing)}


def our_prefix(published):
    return published.replace("model.diffusion_model.", "denoiser.")


def frusta_of(given):
    return [given[f"vol{size}"] for size in (32, 16, 8, 4)]


def unet_model(spec, fill):
    """A model of which only the U-Net has weights."""
    model = build(MorphableDiffusion, config_of(spec))
    fill(model.denoiser, "denoiser.")
    return model


def run_unet(spec, given, fill):
    net = fill(build(ViewUNet, config_of(spec)), "denoiser.")
    return {"out": net(given["x"], given["t"], given["clip_embed"], frusta_of(given))}


def run_unet_with_portrait(spec, given, fill):
    condition = Condition(given["x_concat"], given["clip_embed"])
    return {"out": unet_model(spec, fill).predict(given["x"], given["t"], condition, frusta_of(given))}


def run_guidance(spec, given, fill):
    condition = Condition(given["x_concat"], given["clip_embed"])
    model, scale = unet_model(spec, fill), spec["unconditional_scale"]
    return {"out": guidance.guided_prediction(model, given["x"], given["t"], condition, frusta_of(given), scale)}


def run_small_signal(spec, given, fill):
    net = fill(build(ViewUNet, config_of(spec)), "denoiser.")
    level = net.unet.down_blocks[1]
    transformed = level.attentions[0](given["x_tr"], encoder_hidden_states=given["clip_embed"], return_dict=False)
    return {
        "residual": level.resnets[0](given["x_res"], given["emb"]),
        "transformer": transformed[0],
        "depth_attention": net.output_conditions[4](given["x_da"], given["context"]),
    }


def run_vae_encode(spec, given, fill):
    net = fill(build(autoencoder.make_autoencoder), "autoencoder.")
    pictures = given["image"].permute(0, 3, 1, 2)
    posterior = net.encode(pictures).latent_dist
    return {
        "mean": posterior.mean,
        "logvar": posterior.logvar,
        "latent_mode_scaled": autoencoder.encode(net, pictures, torch.zeros_like(given["noise"])),
        "latent_sample_scaled": autoencoder.encode(net, pictures, given["noise"]),
    }


def run_vae_decode(spec, given, fill):
    net = fill(build(autoencoder.make_autoencoder), "autoencoder.")
    return {"image": autoencoder.decode(net, given["latent_scaled"])}


def run_clip_preprocess(spec, given, fill):
    return {"pixels": clip_pixels(given["image"].permute(0, 3, 1, 2))}


def run_clip(spec, given, fill):
    return {"embed": fill(build(ImageEncoder), "image_encoder.")(given["image"].permute(0, 3, 1, 2))}


def run_ddim_step(spec, given, fill):
    plan = schedule.scheduler(spec["ddim_steps"])
    outputs = {}
    for index in spec["indices"]:
        added = given["noise"] if index else torch.zeros_like(given["noise"])
        step = plan.timesteps.flip(0)[index]
        done = plan.step(given["eps"], step, given["x"], eta=spec["eta"], variance_noise=added)
        outputs[f"step{index}"] = done.prev_sample
    return outputs


def conditioned_model(spec, fill):
    """The whole model but autoencoder and image encoder."""
    model = build(MorphableDiffusion, dataclasses.replace(config_of(spec), autoencoder=False, latent_scale=0.18215))
    model.image_encoder = torch.nn.Identity()
    return fill(model)


def run_sampler(spec, given, fill):
    model = conditioned_model(spec, fill)
    states = list(
        denoise(
            model,
            scene_of(given, model.config),
            Condition(given["x_input"], given["clip_embed"]),
            iter([given["x_T"], given["noise0"]]),
            steps=spec["ddim_steps"],
            guidance=spec["unconditional_scale"],
        )
    )
    return {"x_after_step0": states[0], "x_final": states[1]}


def run_training_step(spec, given, fill):
    model = conditioned_model(spec, fill).train()
    data = (
        given["x0"],
        given["noise"],
        given["t"],
        scene_of(given, model.config),
        Condition(given["x_input"], given["clip_embed"]),
        given["target_index"][:, :1],
    )
    predicted = objective.predict_target(model, *data)[:, 0]
    model.spatial_volume.sparse_net = fill(model.spatial_volume.sparse_net, "spatial_volume.sparse_net.").train()
    loss = objective.training_loss(model, *data)
    loss.backward()
    named = {published_name(name): parameter for name, parameter in model.named_parameters()}
    norms = [named[name].grad.double().norm().log10() for name in spec["grad_norm_params"]]
    net = model.spatial_volume.sparse_net
    return {
        "pred": predicted,
        "loss": loss.detach().double()[None],
        "log10_grad_norms": torch.stack(norms),
        "running_mean_conv0_1": net.conv0[1].running_mean,
        "running_var_conv2_7": net.conv2[7].running_var,
    }


RUNNERS = {
    "schedule": run_schedule,
    "lr_multiplier": run_rate,
    "timestep_sincos": run_wave,
    "time_embed": run_time,
    "view_embed": run_view_embedding,
    "cameras_face_virtual": run_face_cameras,
    "cameras_face_real": run_capture_cameras,
    "cameras_body_ortho": run_body_cameras,
    "tracker_mesh_to_world": run_tracker,
    "voxelize": run_voxelize,
    "project_": run_project,
    "frustum_grid_": run_frustum_grid,
    "target_encoder": run_target_encoder,
    "vertex_feature_net": run_vertex_layer,
    "sparse_net": run_sparse_net,
    "spatial_volume_": run_spatial_volume,
    "frustum_net": run_frustum_net,
    "view_frustum_": run_view_frustum,
    "depth_block_": run_depth_block,
    "unet_small": run_unet,
    "unet_wrapper_small": run_unet_with_portrait,
    "unet_full": run_unet_with_portrait,
    "cfg_small": run_guidance,
    "small_signal_blocks": run_small_signal,
    "vae_encode": run_vae_encode,
    "vae_decode": run_vae_decode,
    "clip_preprocess": run_clip_preprocess,
    "clip_embed": run_clip,
    "ddim_step": run_ddim_step,
    "sampler_small": run_sampler,
    "train_loss_small": run_training_step,
}
