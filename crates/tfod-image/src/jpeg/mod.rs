//! JPEG, baseline and progressive, to the very pixels that programs around TensorFlow see.
//!
//! The standard leaves to decoders how they round, so pixels depend on the decoder. TensorFlow and Pillow both decode by libjpeg-turbo, by two of its
//! transforms; everything else is the same: half-sized components are interpolated, colours computed in integers, and damaged data decoded as far as they go.
//! What they refuse is refused here: files that end before their end marker, headers that are not valid.
//!
//! `headers` reads what is around the data, `scan` the coefficients, `transform` makes samples of them, `samples` pixels of these.

// Numbers are cut to the widths that libjpeg computes with. Each place is a step of its arithmetic, and tests compare all results with libjpeg's.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

mod bits;
mod headers;
mod huffman;
mod samples;
mod scan;
mod transform;

use headers::{Frame, Headers, Next, Scan};
use samples::{Grown, Plane, colours};
use scan::{Block, Blocks, Layout};
use transform::Transform;

pub(crate) use transform::Method;

use huffman::Codes;

/// How many scans a file may have. Encoders write around ten; each may take as long as all coefficients do.
const MOST_SCANS: usize = 500;

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
#[error("{problem} (at byte {at})")]
pub(crate) struct Problem {
    at: usize,
    problem: String,
}

/// A decoded picture: rows from top to bottom, three bytes a pixel.
pub(crate) struct Decoded<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) rgb: Vec<u8>,
    /// The picture's data of Exif.
    pub(crate) exif: Option<&'a [u8]>,
}

/// How components make colours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    /// Cyan, magenta and yellow as brightness and differences of their opposites.
    Ycck,
}

impl Colours {
    /// What libjpeg takes a file for.
    fn of(frame: &Frame, headers: &Headers<'_>) -> Self {
        let ids: Vec<_> = frame.components.iter().map(|one| one.id).collect();
        match (ids.len(), headers.adobe) {
            (1, _) => Self::Grey,
            (3, _) if headers.jfif => Self::YCbCr,
            (3, Some(0)) => Self::Rgb,
            (3, None) if ids == *b"RGB" => Self::Rgb,
            (3, _) => Self::YCbCr,
            (_, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        }
    }
}

/// The size of a picture, from what precedes its data.
///
/// # Errors
/// When that is not valid, or does not end within these bytes.
pub(crate) fn size(bytes: &[u8]) -> Result<(u32, u32), Problem> {
    let mut headers = Headers::new(bytes)?;
    let (frame, _) = start(&mut headers)?;
    Ok((frame.size.0 as u32, frame.size.1 as u32))
}

/// Reads up to the first scan.
fn start(headers: &mut Headers<'_>) -> Result<(Frame, Scan), Problem> {
    let Next::Scan(scan) = headers.advance()? else {
        return Err(headers.source.problem("there is no picture in it"));
    };
    match headers.frame.clone() {
        Some(frame) => Ok((frame, scan)),
        None => Err(headers.source.problem("there is no picture in it")),
    }
}

/// Decodes a picture. Its size is to be looked at before, by `size`: memory is taken for it.
///
/// # Errors
/// When it is not valid, or ends before its end.
pub(crate) fn decode(bytes: &[u8], method: Method) -> Result<Decoded<'_>, Problem> {
    let mut headers = Headers::new(bytes)?;
    let (frame, mut scan) = start(&mut headers)?;
    if !frame.progressive {
        for (index, chroma) in [false, true].into_iter().enumerate() {
            headers.direct[index].get_or_insert_with(|| Codes::standard(true, chroma));
            headers.alternating[index].get_or_insert_with(|| Codes::standard(false, chroma));
        }
    }
    let colours = Colours::of(&frame, &headers);
    let adobe = headers.adobe.is_some();
    let layouts = Layout::of(&frame);
    let planes = if frame.progressive || scan.parts.len() < frame.components.len() {
        let mut stored = Stored::new(&layouts);
        let mut tables = vec![None; layouts.len()];
        let mut known = Known::new(&frame);
        for count in 1.. {
            if count > MOST_SCANS {
                return Err(headers.source.problem(format!(
                    "it has more than {MOST_SCANS} scans; pictures have around ten"
                )));
            }
            latch(&headers, &frame, &scan, &mut tables)?;
            known.note(&scan);
            scan::decode(&mut headers, &frame, &layouts, &scan, &mut stored)?;
            match headers.advance()? {
                Next::End => break,
                Next::Scan(next) => scan = next,
            }
        }
        known.check(&headers, &tables)?;
        stored.planes(&layouts, &tables, method)
    } else {
        let mut tables = vec![None; layouts.len()];
        latch(&headers, &frame, &scan, &mut tables)?;
        let mut immediate = Immediate {
            planes: layouts.iter().copied().map(Plane::new).collect(),
            transforms: transforms(&tables, method),
        };
        scan::decode(&mut headers, &frame, &layouts, &scan, &mut immediate)?;
        if let Next::Scan(_) = headers.advance()? {
            return Err(headers.source.problem("a scan after the last one"));
        }
        immediate.planes
    };
    Ok(Decoded {
        width: frame.size.0 as u32,
        height: frame.size.1 as u32,
        rgb: pixels(&frame, &planes, colours, adobe, method),
        exif: headers.exif,
    })
}

/// Notes the quantisation tables of components whose first scan this is.
fn latch(
    headers: &Headers<'_>,
    frame: &Frame,
    scan: &Scan,
    tables: &mut [Option<[u16; 64]>],
) -> Result<(), Problem> {
    for part in &scan.parts {
        let index = frame.components[part.component].table;
        let table = headers.quantisation.get(usize::from(index)).copied();
        if tables[part.component].is_none() {
            let table = table.flatten().ok_or_else(|| {
                headers.source.problem(format!(
                    "a component needs quantisation table {index}, which is not there"
                ))
            })?;
            tables[part.component] = Some(table);
        }
    }
    Ok(())
}

/// A component without a table has no data.
fn transforms(tables: &[Option<[u16; 64]>], method: Method) -> Vec<Transform> {
    let transform = |table: &Option<[u16; 64]>| Transform::new(method, &table.unwrap_or([0; 64]));
    tables.iter().map(transform).collect()
}

/// Blocks of a file with one scan, which become samples at once.
struct Immediate {
    planes: Vec<Plane>,
    transforms: Vec<Transform>,
}

impl Blocks for Immediate {
    #[inline]
    fn visit(
        &mut self,
        component: usize,
        column: usize,
        row: usize,
        decode: impl FnOnce(&mut Block) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let mut block = [0; 64];
        decode(&mut block)?;
        let samples = self.transforms[component].inverse(&block);
        self.planes[component].put(column, row, &samples);
        Ok(())
    }
}

/// Blocks that several scans add to.
struct Stored {
    components: Vec<(usize, Vec<Block>)>,
}

impl Stored {
    fn new(layouts: &[Layout]) -> Self {
        let blocks = |layout: &Layout| {
            let (across, down) = layout.padded;
            (across, vec![[0; 64]; across * down])
        };
        Self {
            components: layouts.iter().map(blocks).collect(),
        }
    }

    fn planes(
        self,
        layouts: &[Layout],
        tables: &[Option<[u16; 64]>],
        method: Method,
    ) -> Vec<Plane> {
        let components = self.components.into_iter().zip(layouts);
        let planes = components.zip(transforms(tables, method));
        let plane = |(((across, blocks), layout), transform): ((_, &Layout), Transform)| {
            let (across, blocks): (usize, Vec<Block>) = (across, blocks);
            let mut plane = Plane::new(*layout);
            for (row, blocks) in blocks.chunks_exact(across).enumerate() {
                for (column, block) in blocks.iter().enumerate() {
                    plane.put(column, row, &transform.inverse(block));
                }
            }
            plane
        };
        planes.map(plane).collect()
    }
}

impl Blocks for Stored {
    #[inline]
    fn visit(
        &mut self,
        component: usize,
        column: usize,
        row: usize,
        decode: impl FnOnce(&mut Block) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let (across, blocks) = &mut self.components[component];
        decode(&mut blocks[row * *across + column])
    }
}

/// Of a progressive picture's components, which bit of each of the first coefficients is the last known; `None` for nothing.
///
/// libjpeg makes up for what is missing by smoothing blocks, in ways that differ between its releases. Such files are cut off or made by hand: they are
/// refused rather than shown otherwise.
struct Known {
    progressive: bool,
    bits: Vec<[Option<u8>; 10]>,
}

impl Known {
    fn new(frame: &Frame) -> Self {
        Self {
            progressive: frame.progressive,
            bits: vec![[None; 10]; frame.components.len()],
        }
    }

    fn note(&mut self, scan: &Scan) {
        for part in &scan.parts {
            let last = scan.last.min(9);
            if let Some(bits) = self.bits[part.component].get_mut(scan.first..=last) {
                bits.fill(Some(scan.low));
            }
        }
    }

    fn check(&self, headers: &Headers<'_>, tables: &[Option<[u16; 64]>]) -> Result<(), Problem> {
        // Smoothing needs a table's first numbers, and all direct coefficients.
        let smoothable = tables.iter().zip(&self.bits).all(|(table, bits)| {
            let first = |table: &[u16; 64]| {
                headers::ORDER[..10]
                    .iter()
                    .all(|&at| table[usize::from(at)] != 0)
            };
            table.as_ref().is_some_and(first) && bits[0].is_some()
        });
        let all = self
            .bits
            .iter()
            .all(|bits| bits[1..].iter().all(|&bit| bit == Some(0)));
        if self.progressive && smoothable && !all {
            return Err(headers.source.problem(
                "its scans lack parts of the first coefficients, and what stands for them depends on the decoder; the file may be damaged",
            ));
        }
        Ok(())
    }
}

/// Brings components to one size and makes colours of them.
fn pixels(
    frame: &Frame,
    planes: &[Plane],
    colours: Colours,
    adobe: bool,
    method: Method,
) -> Vec<u8> {
    let (width, height) = frame.size;
    let most = frame.sampling();
    let components = frame.components.iter().zip(planes);
    let grown = components.map(|(component, plane)| {
        let sampling = component.sampling;
        Grown::new(plane, (most.0 / sampling.0, most.1 / sampling.1))
    });
    let mut grown: Vec<_> = grown.collect();
    let mut rgb = vec![0; width * height * 3];
    for (row, to) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let rows: Vec<&[u8]> = grown
            .iter_mut()
            .map(|component| component.row(row))
            .collect();
        match (rows.as_slice(), colours) {
            (&[grey], _) => {
                for (pixel, &grey) in to.chunks_exact_mut(3).zip(grey) {
                    pixel.fill(grey);
                }
            }
            (&[red, green, blue], Colours::Rgb) => {
                let others = green.iter().zip(blue);
                for ((pixel, &red), (&green, &blue)) in to.chunks_exact_mut(3).zip(red).zip(others)
                {
                    pixel.copy_from_slice(&[red, green, blue]);
                }
            }
            (&[luma, blue, red], _) => self::colours(luma, blue, red, to),
            (&[one, two, three, black], _) => {
                if colours == Colours::Ycck {
                    self::colours(one, two, three, to);
                    for colour in to.iter_mut() {
                        *colour = !*colour;
                    }
                } else {
                    let others = two.iter().zip(three);
                    for ((inks, &one), (&two, &three)) in
                        to.chunks_exact_mut(3).zip(one).zip(others)
                    {
                        inks.copy_from_slice(&[one, two, three]);
                    }
                }
                for (inks, &black) in to.chunks_exact_mut(3).zip(black) {
                    for ink in inks {
                        *ink = without_ink(*ink, black, adobe, method);
                    }
                }
            }
            _ => {}
        }
    }
    rgb
}

/// A colour from its ink and black. Adobe's programs write how much light is left instead of how much ink there is: TensorFlow takes that for so in files with
/// their segment, Pillow in all files.
fn without_ink(ink: u8, black: u8, adobe: bool, method: Method) -> u8 {
    let (ink, black) = (u16::from(ink), u16::from(black));
    let light = match method {
        Method::Fast if adobe => ink * black / 255,
        Method::Fast => (255 - ink) * (255 - black) / 255,
        Method::Accurate => {
            let product = (255 - ink) * black + 128;
            black - ((product + (product >> 8)) >> 8)
        }
    };
    light as u8
}
