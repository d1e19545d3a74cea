//! Feature pyramid network (Lin et al. 2017, <https://arxiv.org/abs/1612.03144>), top-down: each level is the sum of its own
//! projected feature map and the level above, doubled in size, then smoothed. Further coarse levels come from convolutions of stride 2.

use tfod_graph::{Binary, Builder, Dim, PixelGrid, ResizeMethod, ValueId};

use crate::error::ModelError;
use crate::fields::{FieldPath, size_unknown};
use crate::hyperparams::Hyperparams;
use crate::layers::{ConvWindow, Path, conv2d, conv2d_or_separable, norm_and_activation};
use crate::scalar::{Int, spatial, vector};

/// How a pyramid's layers are configured.
#[derive(Clone, Copy, Debug)]
pub struct Fpn {
    /// Channels of every level.
    pub depth: u64,
    /// Whether smoothing convolutions are separable.
    pub use_depthwise: bool,
    /// Padding written out; see [`ConvWindow`].
    pub explicit_padding: bool,
    /// Where the configuration asks for it.
    pub padding_field: FieldPath,
    /// Activation, normalisation and bias of smoothing and coarse convolutions.
    pub hyperparams: Hyperparams,
}

impl Fpn {
    /// The reference's `create_conv_block`: convolution, normalisation, activation. With explicit padding the padding is a layer of the list too, so it
    /// shifts the others by one.
    fn conv_block(
        &self,
        b: &mut Builder,
        name: &str,
        path: &Path,
        x: ValueId,
        stride: u64,
    ) -> Result<ValueId, ModelError> {
        let first = usize::from(self.explicit_padding);
        let window = ConvWindow {
            kernel: 3,
            stride,
            explicit_padding: self.explicit_padding,
        };
        let y = conv2d_or_separable(
            b,
            self.use_depthwise,
            &format!("{name}_conv"),
            &path.child(first),
            x,
            self.depth,
            window,
            self.hyperparams.use_bias(),
        )?;
        Ok(norm_and_activation(
            b,
            name,
            &path.child(first + 1),
            y,
            &self.hyperparams,
        )?)
    }

    /// The top-down pyramid over feature maps from fine to coarse, each half the size of the one before. Gives one level for each, in the same
    /// order. `path` is the place of the reference's feature map generator.
    ///
    /// # Errors
    /// When sizes do not halve exactly, so that levels cannot be added.
    pub fn top_down(
        &self,
        b: &mut Builder,
        path: &Path,
        features: &[ValueId],
    ) -> Result<Vec<ValueId>, ModelError> {
        let project = |b: &mut Builder, level: usize, path: &Path, x: ValueId| {
            let name = format!("projection_{}", level + 1);
            conv2d(b, &name, path, x, self.depth, ConvWindow::same(1), true)
        };
        let Some((top, finer)) = features.split_last() else {
            return Ok(Vec::new());
        };
        let mut x = project(b, finer.len(), &path.child("top_layers").child(0), *top)?;
        let mut levels = vec![x];
        for (index, (level, feature)) in finer.iter().enumerate().rev().enumerate() {
            let residual_path = path.child("residual_blocks").child(index).child(0);
            let residual = project(b, level, &residual_path, *feature)?;
            let doubled = self.double(b, level, x, residual)?;
            x = b.binary(
                &format!("sum_{}", level + 1),
                Binary::Add,
                doubled,
                residual,
            )?;
            let name = format!("smoothing_{}", level + 1);
            x = self.conv_block(b, &name, &path.child("conv_layers").child(index), x, 1)?;
            levels.push(x);
        }
        levels.reverse();
        Ok(levels)
    }

    /// Every pixel twice in both directions. With explicit padding what then exceeds the finer map is cut off; without, sizes must agree.
    fn double(
        &self,
        b: &mut Builder,
        level: usize,
        x: ValueId,
        finer: ValueId,
    ) -> Result<ValueId, ModelError> {
        let dims = |b: &Builder, value: ValueId| -> Option<[Dim; 2]> {
            b.shape(value).dims().get(1..3)?.to_vec().try_into().ok()
        };
        let known = |[h, w]: &[Dim; 2]| Some([h.known()?, w.known()?]);
        let (Some(own), Some(target)) = (dims(b, x), dims(b, finer)) else {
            let text = "a feature map has four dimensions".to_owned();
            return Err(ModelError::Inconsistent(text));
        };
        let (Some([h, w]), Some(target)) = (known(&own), known(&target)) else {
            return self.double_at_run_time(b, level, x, target);
        };
        let size = [h * 2, w * 2];
        let name = format!("upsample_{}", level + 1);
        let doubled = b.resize(&name, x, ResizeMethod::Nearest, size, false)?;
        if size == target {
            return Ok(doubled);
        }
        if self.explicit_padding && size[0] >= target[0] && size[1] >= target[1] {
            let ranges = vec![None, Some((0, target[0])), Some((0, target[1])), None];
            let name = format!("crop_{}", level + 1);
            return Ok(b.add(&name, tfod_graph::Op::Slice(ranges), &[doubled])?[0]);
        }
        Err(ModelError::Inconsistent(format!(
            "the feature pyramid adds a map of {}x{} to one of {}x{}: with this image size the levels do not halve exactly; \
             height and width must be multiples of the coarsest backbone stride (32 for level 5)",
            size[0], size[1], target[0], target[1]
        )))
    }

    /// [`Self::double`] for sizes known only at run time. That it makes the size of the finer map shows when the two are added.
    fn double_at_run_time(
        &self,
        b: &mut Builder,
        level: usize,
        x: ValueId,
        finer: [Dim; 2],
    ) -> Result<ValueId, ModelError> {
        if self.explicit_padding {
            return Err(size_unknown(self.padding_field, "true"));
        }
        let name = format!("upsample_{}", level + 1);
        let own = spatial(b, &name, x)?;
        let two = Int::Known(2);
        let sizes = [
            own[0].binary(b, &format!("{name}/height"), Binary::Mul, two)?,
            own[1].binary(b, &format!("{name}/width"), Binary::Mul, two)?,
        ];
        let sizes = vector(b, &format!("{name}/sizes"), &sizes)?;
        let grid = PixelGrid::Corners;
        Ok(b.resize_on(&name, x, ResizeMethod::Nearest, grid, finer, Some(sizes))?)
    }

    /// Further levels, each half the size of the one before, from the coarsest so far. `first` are the name and number of the first; `path` is the
    /// place of the list of layer lists.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn coarse(
        &self,
        b: &mut Builder,
        path: &Path,
        coarsest: ValueId,
        count: u64,
        first: (&str, u64),
    ) -> Result<Vec<ValueId>, ModelError> {
        let mut x = coarsest;
        let (name, first) = first;
        (0..count)
            .map(|i| {
                let name = format!("{name}{}", first + i);
                x = self.conv_block(b, &name, &path.child(i), x, 2)?;
                Ok(x)
            })
            .collect()
    }
}
