//! Anchors: the boxes that predictions are relative to. They depend on the configuration and on the sizes of the feature maps
//! only, so for images of a known size they are constants of the graph.

pub mod multiscale;

/// One anchor: ymin, xmin, ymax, xmax.
pub type Corners = [f32; 4];
