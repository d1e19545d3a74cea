//! Pictures as files.

use std::io::{self, Write};

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// With losses; the quality is 1 to 100.
    Jpeg(u8),
    /// As they are.
    Png,
}

/// Writes pixels of a width and height: rows from top to bottom, red, green and blue.
///
/// # Errors
///
/// If they are not as many, or cannot be written.
#[cfg(feature = "codecs")]
pub fn encode(
    rgb: &[u8],
    (width, height): (u32, u32),
    encoding: Encoding,
    to: &mut impl Write,
) -> io::Result<()> {
    use image::codecs::png::{CompressionType, FilterType, PngEncoder};
    use image::{ExtendedColorType, ImageEncoder as _, ImageError};
    use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

    let invalid = |problem| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let size = 3 * u64::from(width) * u64::from(height);
    if rgb.len() as u64 != size {
        return Err(invalid(format!(
            "expected {size} bytes of pixels, found {}",
            rgb.len()
        )));
    }
    match encoding {
        Encoding::Jpeg(quality) => {
            let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
                let problem = format!("{width}x{height} pixels are too many for a JPEG");
                return Err(invalid(problem));
            };
            let mut encoder = Encoder::new(to, quality);
            // Coloured text and lines stay sharp.
            encoder.set_sampling_factor(SamplingFactor::F_1_1);
            let written = encoder.encode(rgb, width, height, ColorType::Rgb);
            written.map_err(|error| match error {
                EncodingError::IoError(error) => error,
                error => io::Error::other(error.to_string()),
            })
        }
        Encoding::Png => {
            let encoder =
                PngEncoder::new_with_quality(to, CompressionType::Fast, FilterType::Adaptive);
            let written = encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8);
            written.map_err(|error| match error {
                ImageError::IoError(error) => error,
                error => io::Error::other(error),
            })
        }
    }
}

/// Refuses: there are no encoders in this build.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "codecs"))]
pub fn encode(_: &[u8], _: (u32, u32), _: Encoding, _: &mut impl Write) -> io::Result<()> {
    let problem = "this build cannot write images: it was made without the feature `codecs`";
    Err(io::Error::new(io::ErrorKind::Unsupported, problem))
}

#[cfg(all(test, feature = "codecs"))]
mod tests {
    use super::*;
    use crate::Picture;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let rgb: Vec<u8> = (0..96).collect();
        for (name, encoding, apart) in [
            ("a.png", Encoding::Png, 0),
            ("a.jpg", Encoding::Jpeg(95), 16),
        ] {
            let path = folder.path().join(name);
            let mut file = std::fs::File::create(&path).unwrap();
            encode(&rgb, (8, 4), encoding, &mut file).unwrap();
            let picture = Picture::open(&path).unwrap();
            assert_eq!(picture.size(), (8, 4));
            let pixels = picture.rgb(8, 4);
            let most = rgb
                .iter()
                .zip(pixels.iter())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(most.unwrap() <= apart, "{name}: {most:?}");
        }
        let problem = encode(&rgb, (8, 5), Encoding::Png, &mut Vec::new()).unwrap_err();
        assert_eq!(problem.kind(), io::ErrorKind::InvalidInput);
    }
}
