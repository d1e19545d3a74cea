//! Convolutions, pooling, normalisation, and a chain of feature maps.

use tfod_graph::{
    Binary, Builder, Built, Compare, ConvAttrs, DType, Op, Padding, PoolAttrs, Reduce,
    ResizeMethod, Tensor, Unary, ValueId,
};

use crate::{Case, Inputs, parameter, ramp_constant};

pub(crate) const CASES: &[Case] = &[
    Case::new("conv2d", conv2d),
    Case::new("depthwise_conv2d", depthwise_conv2d),
    Case::new("max_pool", max_pool),
    Case::new("average_pool", average_pool),
    Case::new("global_average_pool", global_average_pool),
    Case::new("bias_add", bias_add),
    Case::new("batch_norm", batch_norm),
    Case::new("chain", chain),
];

fn kernel(b: &mut Builder) -> Built {
    parameter(b, "conv/kernel", &[3, 3, 3, 8])
}

/// A convolution that several cases share.
fn strided(b: &mut Builder, given: &Inputs) -> Built {
    let kernel = kernel(b)?;
    let attrs = ConvAttrs::new(2, Padding::Same);
    b.conv2d("strided", given.image, kernel, attrs)
}

fn conv2d(b: &mut Builder, given: &Inputs) -> Built<()> {
    let strided = strided(b, given)?;
    b.output("conv2d", strided);
    let kernel = kernel(b)?;
    let attrs = ConvAttrs {
        dilations: [2, 1],
        ..ConvAttrs::new(1, Padding::Valid)
    };
    let dilated = b.conv2d("dilated", given.image, kernel, attrs)?;
    b.output("conv2d_dilated", dilated);
    // Sizes that are not known, and an even kernel, whose padding is uneven.
    let photo = b.cast("photo_floats", given.photo, DType::F32)?;
    let even = parameter(b, "even/kernel", &[4, 2, 3, 5])?;
    let same = b.conv2d("same", photo, even, ConvAttrs::new(1, Padding::Same))?;
    b.output("conv2d_same_unknown", same);
    let odd = parameter(b, "unknown/kernel", &[3, 3, 3, 2])?;
    let unknown = b.conv2d("unknown", photo, odd, ConvAttrs::new(2, Padding::Same))?;
    b.output("conv2d_unknown", unknown);
    let doubled = b.binary_scalar("doubled_kernel", Binary::Mul, kernel, 2.0)?;
    let attrs = ConvAttrs::new(2, Padding::Valid);
    let computed = b.conv2d("computed", given.image, doubled, attrs)?;
    b.output("conv2d_computed_kernel", computed);
    Ok(())
}

fn depthwise_conv2d(b: &mut Builder, given: &Inputs) -> Built<()> {
    let kernel = parameter(b, "depthwise/kernel", &[3, 3, 3, 2])?;
    let attrs = ConvAttrs::new(1, Padding::Same);
    let value = b.depthwise_conv2d("depthwise", given.image, kernel, attrs)?;
    b.output("depthwise_conv2d", value);
    Ok(())
}

fn max_pool(b: &mut Builder, given: &Inputs) -> Built<()> {
    // So that a padding with zeros would show.
    let negative = b.binary_scalar("negative", Binary::Sub, given.image, 20.0)?;
    let attrs = PoolAttrs::new(3, 2, Padding::Same);
    let value = b.max_pool("max_pooled", negative, attrs)?;
    b.output("max_pool", value);
    let attrs = PoolAttrs {
        window: [2, 3],
        strides: [1, 2],
        padding: Padding::Valid,
    };
    let value = b.max_pool("max_pooled_unevenly", given.image, attrs)?;
    b.output("max_pool_uneven", value);
    let photo = b.cast("pooled_floats", given.photo, DType::F32)?;
    let attrs = PoolAttrs::new(2, 1, Padding::Same);
    let value = b.max_pool("max_pooled_unknown", photo, attrs)?;
    b.output("max_pool_unknown", value);
    // Zeros are larger than what they surround.
    let padded = b.pad("zeros_around", negative, &[(0, 0), (1, 1), (1, 1), (0, 0)])?;
    let attrs = PoolAttrs::new(3, 2, Padding::Valid);
    let value = b.max_pool("max_pooled_zeros", padded, attrs)?;
    b.output("max_pool_zeros", value);
    Ok(())
}

fn average_pool(b: &mut Builder, given: &Inputs) -> Built<()> {
    let attrs = PoolAttrs::new(3, 1, Padding::Same);
    let value = b.average_pool("averaged", given.image, attrs)?;
    b.output("average_pool", value);
    let attrs = PoolAttrs {
        window: [2, 3],
        strides: [1, 2],
        padding: Padding::Valid,
    };
    let value = b.average_pool("averaged_unevenly", given.image, attrs)?;
    b.output("average_pool_uneven", value);
    let photo = b.cast("average_floats", given.photo, DType::F32)?;
    let attrs = PoolAttrs::new(3, 2, Padding::Same);
    let value = b.average_pool("averaged_unknown", photo, attrs)?;
    b.output("average_pool_unknown", value);
    Ok(())
}

fn global_average_pool(b: &mut Builder, given: &Inputs) -> Built<()> {
    let value = b.global_average_pool("average_pooled", given.image)?;
    b.output("global_average_pool", value);
    let photo = b.cast("averaged_floats", given.photo, DType::F32)?;
    let value = b.global_average_pool("average_pooled_unknown", photo)?;
    b.output("global_average_pool_unknown", value);
    Ok(())
}

/// One bias that is added to a map used otherwise too, one that a convolution can add.
fn bias_add(b: &mut Builder, given: &Inputs) -> Built<()> {
    let biased = biased(b, given)?;
    b.output("bias_add", biased);
    let kernel = kernel(b)?;
    let bias = parameter(b, "conv/bias", &[8])?;
    let attrs = ConvAttrs::new(3, Padding::Same);
    let alone = b.conv2d("alone", given.image, kernel, attrs)?;
    let fused = b.bias_add("fused", alone, bias)?;
    b.output("bias_add_fused", fused);
    Ok(())
}

fn biased(b: &mut Builder, given: &Inputs) -> Built {
    let strided = strided(b, given)?;
    let bias = parameter(b, "conv/bias", &[8])?;
    b.bias_add("biased", strided, bias)
}

fn normal(b: &mut Builder, given: &Inputs) -> Built {
    let strided = strided(b, given)?;
    let vectors = [
        parameter(b, "bn/gamma", &[8])?,
        parameter(b, "bn/beta", &[8])?,
        parameter(b, "bn/moving_mean", &[8])?,
        parameter(b, "bn/moving_variance", &[8])?,
    ];
    b.batch_norm("normal", strided, vectors, 0.001)
}

fn batch_norm(b: &mut Builder, given: &Inputs) -> Built<()> {
    let value = normal(b, given)?;
    b.output("batch_norm", value);
    Ok(())
}

/// Everything that can stay channels-first between two convolutions, in a back end that has that layout.
fn chain(b: &mut Builder, given: &Inputs) -> Built<()> {
    let normal = normal(b, given)?;
    let biased = biased(b, given)?;
    let by_column = ramp_constant(b, "by_column", &[3, 8])?;
    let scaled = b.binary("scaled", Binary::Mul, normal, by_column)?;
    let active = b.unary("active", Unary::Relu6, scaled)?;
    let joined = b.concat("joined", 3, &[active, biased])?;
    let padded = b.pad("padded", joined, &[(0, 0), (1, 0), (0, 2), (0, 1)])?;
    let part = vec![None, Some((1, 2)), None, Some((3, 9))];
    let part = b.add("part", Op::Slice(part), &[padded])?[0];
    let likely = b.softmax("likely", part)?;
    let large = b.constant("large", Tensor::scalar_f32(0.1))?;
    let large = b.compare("is_large", Compare::Greater, likely, large)?;
    let chosen = b.select("chosen", large, likely, part)?;
    let upsampled: ValueId =
        b.resize("upsampled", chosen, ResizeMethod::Nearest, [4, 10], false)?;
    let pooled = b.reduce("pooled", Reduce::Max, upsampled, &[1, 2])?;
    b.output("chain_pooled", pooled);
    let columns = b.reduce("column_sums", Reduce::Sum, upsampled, &[1])?;
    b.output("chain_column_sums", columns);
    let channels = b.unstack("channel", upsampled, 3)?;
    b.output("chain_channel", channels[2]);
    let flat = [given.batch.clone(), 40.into(), 9.into()];
    let flat = b.reshape("flat", upsampled, &flat)?;
    b.output("chain_flat", flat);
    Ok(())
}
