//! Feature pyramids: they give feature maps of many scales one width and one kind of content.

pub mod bifpn;
pub mod fpn;
