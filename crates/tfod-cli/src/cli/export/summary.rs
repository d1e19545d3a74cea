//! What `tfod export` prints for people.

use tfod::{ExportReport, InterfaceTensor};
use tfod_text::Shown;

pub(super) fn summary(report: &ExportReport, verbose: bool) -> String {
    let mut lines = Vec::new();
    let size = report.image_size.map_or_else(
        || String::from("of any size"),
        |[height, width]| format!("{height}x{width}"),
    );
    let classes = match report.num_classes {
        1 => String::from("1 class"),
        n => format!("{n} classes"),
    };
    lines.push(format!(
        "Exported {} to {}",
        report.architecture,
        report.output.shown()
    ));
    lines.push(format!("  model        {classes}, network input {size}"));
    lines.push(format!(
        "  checkpoint   {} ({})",
        report.checkpoint.shown(),
        report.checkpoint_found
    ));
    lines.push(format!(
        "  variables    {} of {0} found and verified; {} more in the checkpoint not needed{}",
        report.variables,
        report.unused.total(),
        if verbose || report.unused.total() == 0 {
            ""
        } else {
            " (--verbose lists them)"
        }
    ));
    for written in &report.formats {
        lines.push(format!(
            "  {:<11}  {}",
            written.format.name(),
            written.summary
        ));
    }
    let width = report
        .interface
        .outputs
        .iter()
        .map(|o| o.key.len())
        .max()
        .unwrap_or_default();
    let tensor = |info: &InterfaceTensor| {
        format!("{:width$}  {} {}", info.key, info.dtype.name(), info.shape)
    };
    for (title, tensors) in [
        ("input", &report.interface.inputs),
        ("output", &report.interface.outputs),
    ] {
        for (i, info) in tensors.iter().enumerate() {
            let title = if i == 0 { title } else { "" };
            lines.push(format!("  {title:<11}  {}", tensor(info)));
        }
    }
    for (name, signature) in report.signatures.iter().skip(1) {
        for info in &signature.inputs {
            lines.push(format!(
                "  also         {name}({})",
                format_args!("{} {} {}", info.key, info.dtype.name(), info.shape)
            ));
        }
    }
    if !report.removed.is_empty() {
        lines.push(format!(
            "  removed      {}, of the earlier export",
            report.removed.join(", ")
        ));
    }
    lines.push(format!(
        "  time         {:.2} s",
        report.elapsed.as_secs_f64()
    ));
    if verbose {
        for (what, keys) in [
            ("of the model", &report.unused.model),
            ("of the optimizer", &report.unused.optimizer),
            ("other", &report.unused.other),
        ] {
            if !keys.is_empty() {
                lines.push(format!("Not needed, {what} ({}):", keys.len()));
                lines.extend(keys.iter().map(|key| format!("  {}", key.shown())));
            }
        }
    }
    lines.join("\n") + "\n"
}
