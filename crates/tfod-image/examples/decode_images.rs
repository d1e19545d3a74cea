//! Decodes files of images, for comparing their pixels with those of other decoders.
//!
//! `decode_images OUTPUT [--pillow] [--upright] FILE…` writes `OUTPUT/NAME.rgb` for each file: width and height as 32-bit integers, lowest byte first, and the
//! pixels. Files that are refused are printed with the reason instead. `decode_images --time FILE…` prints how long each takes.

use std::path::Path;
use std::time::Instant;

use tfod_image::{Decoding, Picture, Pixels};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let output = arguments.next().ok_or("expected a folder or --time")?;
    let mut decoding = Decoding::default();
    if arguments
        .next_if(|argument| argument == "--pillow")
        .is_some()
    {
        decoding.pixels = Pixels::Pillow;
    }
    if arguments
        .next_if(|argument| argument == "--upright")
        .is_some()
    {
        decoding.upright = true;
    }
    for file in arguments {
        let path = Path::new(&file);
        if output == "--time" {
            let bytes = std::fs::read(path)?;
            let start = Instant::now();
            Picture::decode(path, &bytes, decoding)?;
            println!("{} {:?}", path.display(), start.elapsed());
            continue;
        }
        let picture = match Picture::open_with(path, decoding) {
            Ok(picture) => picture,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        let (width, height) = picture.size();
        let mut content = [width.to_le_bytes(), height.to_le_bytes()].concat();
        content.extend_from_slice(&picture.rgb(width, height));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".rgb");
        std::fs::write(Path::new(&output).join(name), content)?;
    }
    Ok(())
}
