"""DeepMAC: masks by a network of their own, over what is cut out of embeddings for each box.

The reference reads the embedding at the centre of a box without looking whether it is within the map, which TensorFlow refuses on a CPU where a centre is on
the far border: images are taken in which none is.
"""

from ..configs import block, field
from .center_net import HOURGLASS, case, padded
from .center_net_keypoints import sigmoid_loss


def deep_mac(**options):
    return tuple(block("deepmac_mask_estimation", sigmoid_loss(), *(field(name, value) for name, value in options.items())))


SMALL = {"dim": 8, "pixel_embedding_dim": 4, "mask_size": 16, "num_init_channels": 8}
ALONE = {"pixel_embedding_dim": 4, "mask_size": 12, "num_init_channels": 5, "use_instance_embedding": False}
FEW = {"count": 5, "images": ((64, 64), (50, 90)), "float_images": ((2, 60, 80),)}

DEFAULT = [
    case("deepmac_hourglass", 870, checkpoint="training", more=deep_mac(network_type="hourglass10", **SMALL), **FEW),
    # Three layers from 6 channels by 5 to 1.
    case("deepmac_conditional", 871, more=deep_mac(network_type="cond_inst3", dim=6 * 5 + 5 + 5 * 5 + 5 + 5 + 1, **ALONE), **FEW),
]

NETWORKS = {
    "hourglass20": {},
    "hourglass20_uniform_size": {"use_xy": False},
    "hourglass20_no_shortcut": {"use_instance_embedding": False},
    "hourglass32": {},
    "hourglass52": {"mask_size": 32},
    "hourglass100": {"mask_size": 32},
    "resnet4": {},
    "resnet8": {"use_xy": False},
    "resnet12": {},
    "resnet16": {},
    "resnet20": {},
    "embedding_projection": {"use_xy": False, "use_instance_embedding": False, "dim": 4},
    "cond_inst1": {"use_instance_embedding": False, "dim": 7, "num_init_channels": 6},
}
# Where no checkpoint made with the usual seed has all centres of its boxes within the map.
SEEDS = {"hourglass20_uniform_size": 2000}
FULL = {"predict_full_resolution_masks": True, "postprocess_crop_size": 20}

FURTHER = [
    *(
        case(f"deepmac_{name}", SEEDS.get(name, 872 + index), tier="exhaustive", more=deep_mac(network_type=name, **{**SMALL, **options}), **FEW)
        for index, (name, options) in enumerate(NETWORKS.items())
    ),
    case("deepmac_full_resolution", 890, tier="exhaustive", resizer=padded(64), more=deep_mac(network_type="resnet4", **SMALL, **FULL), **FEW),
]

# As published, at half the size: the reference takes minutes for more.
PUBLISHED = [
    case(
        f"deepmac_{name}",
        895 + index,
        tier="exhaustive",
        checkpoint="training",
        extractor="hourglass_104",
        num_classes=90,
        count=None,
        resizer=padded(512),
        center_head=None,
        scale_head=None,
        offset_head=None,
        images=((512, 512),),
        float_images=((1, 400, 512),),
        more=deep_mac(network_type=network, dim=32, pixel_embedding_dim=16, mask_size=32, use_xy=True, use_instance_embedding=True),
        **HOURGLASS,
    )
    for index, (name, network) in enumerate((("512_voc_only", "hourglass52"), ("1024_coco", "hourglass100")))
]


def cases():
    return DEFAULT + FURTHER + PUBLISHED
