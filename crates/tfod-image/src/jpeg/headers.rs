//! The segments of a file before, between and after the entropy-coded data: its frame, its tables, the headers of its scans.

use super::Problem;
use super::bits::Source;
use super::huffman::Codes;

/// The order in which coefficients are coded: the place of each in its block, row by row. Damaged data can count up to 15 beyond the last.
pub(super) const ORDER: [u8; 80] = {
    let mut order = [63; 80];
    let (mut row, mut column, mut at) = (0_u8, 0_u8, 0);
    while at < 64 {
        order[at] = row * 8 + column;
        at += 1;
        let upwards = (row + column) % 2 == 0;
        if upwards && column == 7 || !upwards && row < 7 && column == 0 {
            row += 1;
        } else if upwards && row == 0 || !upwards && row == 7 {
            column += 1;
        } else if upwards {
            row -= 1;
            column += 1;
        } else {
            row += 1;
            column -= 1;
        }
    }
    order
};

/// What one component of all pixels is: brightness, for example.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// How many blocks it has a coded unit, across and down.
    pub(super) sampling: (usize, usize),
    /// Which quantisation table it has.
    pub(super) table: u8,
}

/// The picture.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) size: (usize, usize),
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
}

impl Frame {
    /// The largest sampling factors, across and down.
    pub(super) fn sampling(&self) -> (usize, usize) {
        let factors = self.components.iter().map(|component| component.sampling);
        factors.fold((1, 1), |most, one| (most.0.max(one.0), most.1.max(one.1)))
    }
}

/// A component's part in a scan: its place in the frame, its Huffman tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) component: usize,
    pub(super) direct: u8,
    pub(super) alternating: u8,
}

/// Which coefficients a scan has, and which of their bits.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    pub(super) first: usize,
    pub(super) last: usize,
    /// Bits below this one came with earlier scans; zero where there were none.
    pub(super) high: u8,
    /// The lowest bit that the scan has.
    pub(super) low: u8,
}

/// What follows the segments.
pub(super) enum Next {
    Scan(Scan),
    End,
}

/// What segments said, up to a place in the file.
pub(super) struct Headers<'a> {
    pub(super) source: Source<'a>,
    pub(super) frame: Option<Frame>,
    pub(super) quantisation: [Option<[u16; 64]>; 4],
    pub(super) direct: [Option<Codes>; 4],
    pub(super) alternating: [Option<Codes>; 4],
    /// After how many coded units decoding starts anew; zero for never.
    pub(super) restart_interval: u16,
    pub(super) jfif: bool,
    /// How Adobe's segment says that colours are coded.
    pub(super) adobe: Option<u8>,
    /// The first segment of Exif, without its name.
    pub(super) exif: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// # Errors
    /// When the file does not begin as JPEG.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Problem> {
        let mut source = Source::new(bytes);
        let start = source.word()?;
        if start != 0xffd8 {
            return Err(
                source.problem(format!("expected the start marker ffd8, found {start:04x}"))
            );
        }
        Ok(Self {
            source,
            frame: None,
            quantisation: [None; 4],
            direct: [const { None }; 4],
            alternating: [const { None }; 4],
            restart_interval: 0,
            jfif: false,
            adobe: None,
            exif: None,
        })
    }

    /// Reads segments until a scan begins or the file ends as it should.
    ///
    /// # Errors
    /// When a segment is not valid, or of a kind of JPEG that is not decoded.
    pub(super) fn advance(&mut self) -> Result<Next, Problem> {
        loop {
            let marker = self.source.next_marker()?;
            let source = &mut self.source;
            match marker {
                0xd9 => return Ok(Next::End),
                0xda => return self.scan().map(Next::Scan),
                0xc0..=0xc2 => self.read_frame(marker == 0xc2)?,
                0xc4 => self.read_huffman()?,
                0xdb => self.read_quantisation()?,
                0xdd => {
                    let content = source.segment()?;
                    let [high, low] = *content else {
                        return Err(source.problem(format!(
                            "a restart interval has two bytes, found {}",
                            content.len()
                        )));
                    };
                    self.restart_interval = u16::from_be_bytes([high, low]);
                }
                0xe0 => {
                    let content = source.optional_segment()?;
                    self.jfif |= content.len() >= 14 && content.starts_with(b"JFIF\0");
                }
                0xe1 => {
                    let content = source.optional_segment()?;
                    self.exif = self.exif.or(content.strip_prefix(b"Exif\0\0"));
                }
                0xee => {
                    let content = source.optional_segment()?;
                    if content.starts_with(b"Adobe") {
                        self.adobe = content.get(11).copied().or(self.adobe);
                    }
                }
                // Application data, comments, a number of lines, arithmetic coding's conditions.
                0xe2..=0xef | 0xfe | 0xdc | 0xcc => drop(source.optional_segment()?),
                // Restarts where none is expected.
                0xd0..=0xd7 | 0x01 => {}
                0xd8 => return Err(source.problem("a second start marker")),
                0xc9 | 0xca => {
                    return Err(source.problem(
                        "it is coded arithmetically; expected baseline or progressive JPEG with Huffman codes",
                    ));
                }
                0xc3 | 0xc5..=0xc8 | 0xcb | 0xcd..=0xcf => {
                    return Err(source.problem(format!(
                        "it is lossless or hierarchical JPEG (frame {marker:02x}); expected baseline or progressive JPEG"
                    )));
                }
                _ => {
                    return Err(source.problem(format!(
                        "the marker {marker:02x}, which JPEG does not define; the file may be damaged"
                    )));
                }
            }
        }
    }

    fn read_frame(&mut self, progressive: bool) -> Result<(), Problem> {
        let content = self.source.segment()?;
        let wrong = |problem: String| Err(self.source.problem(problem));
        if self.frame.is_some() {
            return wrong("a second frame".to_owned());
        }
        let [precision, h1, h0, w1, w0, count, list @ ..] = content else {
            return wrong(format!(
                "the header of a frame has at least 6 bytes, found {}",
                content.len()
            ));
        };
        let (height, width) = (
            u16::from_be_bytes([*h1, *h0]),
            u16::from_be_bytes([*w1, *w0]),
        );
        if height == 0 || width == 0 {
            return wrong(format!(
                "it has {width}x{height} pixels; sizes that come after the data are not read"
            ));
        }
        if *precision != 8 {
            return wrong(format!("it has {precision} bits a sample; expected 8"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return wrong(format!("it has {count} components; expected 1, 3 or 4"));
        }
        if list.len() != usize::from(*count) * 3 {
            return wrong(format!(
                "{count} components take {} bytes, found {}",
                usize::from(*count) * 3,
                list.len()
            ));
        }
        let components = list.chunks_exact(3).map(|component| Component {
            id: component[0],
            sampling: (
                usize::from(component[1] >> 4),
                usize::from(component[1] & 15),
            ),
            table: component[2],
        });
        let components: Vec<Component> = components.collect();
        let frame = Frame {
            size: (usize::from(width), usize::from(height)),
            progressive,
            components,
        };
        let most = frame.sampling();
        for component in &frame.components {
            let (across, down) = component.sampling;
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return wrong(format!(
                    "a component is sampled {across}x{down}; expected 1 to 4 each"
                ));
            }
            if !most.0.is_multiple_of(across) || !most.1.is_multiple_of(down) {
                return wrong(format!(
                    "a component is sampled {across}x{down} where another has {}x{}; expected divisors of these",
                    most.0, most.1
                ));
            }
        }
        self.frame = Some(frame);
        Ok(())
    }

    fn read_huffman(&mut self) -> Result<(), Problem> {
        let mut content = self.source.segment()?;
        let wrong = |problem: String| Err(self.source.problem(problem));
        while !content.is_empty() {
            let Some((head, rest)) = content.split_first_chunk::<17>() else {
                return wrong(format!(
                    "a Huffman table begins with 17 bytes, found {}",
                    content.len()
                ));
            };
            let [index, counts @ ..] = *head;
            let count = counts.iter().map(|&count| usize::from(count)).sum();
            let Some((values, after)) = rest.split_at_checked(count).filter(|_| count <= 256)
            else {
                return wrong(format!(
                    "a Huffman table of {count} values has {} bytes for them; there are at most 256",
                    rest.len()
                ));
            };
            let tables = match index >> 4 {
                0 => &mut self.direct,
                _ => &mut self.alternating,
            };
            let Some(table) = tables.get_mut(usize::from(index & !0x10)) else {
                return wrong(format!(
                    "Huffman table {index:02x}; expected 00 to 03 or 10 to 13"
                ));
            };
            *table = Some(Codes::new(counts, values));
            content = after;
        }
        Ok(())
    }

    fn read_quantisation(&mut self) -> Result<(), Problem> {
        let mut content = self.source.segment()?;
        let wrong = |problem: String| Err(self.source.problem(problem));
        while let Some((&head, rest)) = content.split_first() {
            let wide = head >> 4 != 0;
            let length = if wide { 128 } else { 64 };
            let Some((values, after)) = rest.split_at_checked(length) else {
                return wrong(format!(
                    "a quantisation table has {length} values' bytes, found {}",
                    rest.len()
                ));
            };
            let Some(table) = self.quantisation.get_mut(usize::from(head & 15)) else {
                return wrong(format!("quantisation table {}; expected 0 to 3", head & 15));
            };
            let table = table.insert([0; 64]);
            for (at, &place) in ORDER[..64].iter().enumerate() {
                table[usize::from(place)] = if wide {
                    u16::from_be_bytes([values[2 * at], values[2 * at + 1]])
                } else {
                    u16::from(values[at])
                };
            }
            content = after;
        }
        Ok(())
    }

    fn scan(&mut self) -> Result<Scan, Problem> {
        let content = self.source.segment()?;
        let wrong = |problem: String| Err(self.source.problem(problem));
        let Some(frame) = &self.frame else {
            return wrong("a scan before the header of the frame".to_owned());
        };
        let (Some((&count, list)), length) = (content.split_first(), content.len()) else {
            return wrong("the header of a scan is empty".to_owned());
        };
        let size = usize::from(count) * 2;
        if !(1..=4).contains(&count) || list.len() != size + 3 {
            return wrong(format!(
                "the header of a scan has {length} bytes for {count} components; expected 1 to 4 components and {} bytes",
                size + 4
            ));
        }
        let (list, rest) = list.split_at(size);
        let mut parts: Vec<Part> = Vec::with_capacity(usize::from(count));
        for pair in list.chunks_exact(2) {
            // Of components with one name, libjpeg takes the first that is at a place which no earlier part of the scan has.
            let place = frame
                .components
                .iter()
                .enumerate()
                .position(|(place, component)| component.id == pair[0] && place >= parts.len());
            let Some(component) = place else {
                return wrong(format!(
                    "a scan has component {}, which the frame has not, or once more",
                    pair[0]
                ));
            };
            if parts.iter().any(|part| part.component == component) {
                return wrong(format!("a scan has component {} twice", pair[0]));
            }
            parts.push(Part {
                component,
                direct: pair[1] >> 4,
                alternating: pair[1] & 15,
            });
        }
        let (first, last) = (usize::from(rest[0]), usize::from(rest[1]));
        let (high, low) = (rest[2] >> 4, rest[2] & 15);
        if frame.progressive {
            let bands = if first == 0 {
                last == 0
            } else {
                first <= last && last < 64 && count == 1
            };
            if !bands || high != 0 && high != low + 1 || low > 13 {
                return wrong(format!(
                    "a progressive scan of {count} components has coefficients {first} to {last} and bits {high} to {low}, which is not allowed"
                ));
            }
        }
        Ok(Scan {
            parts,
            first,
            last,
            high,
            low,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ORDER;

    #[test]
    fn coefficients_go_along_diagonals() {
        assert_eq!(ORDER[..12], [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25]);
        assert_eq!(ORDER[56..64], [53, 60, 61, 54, 47, 55, 62, 63]);
        let mut places = ORDER[..64].to_vec();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..64));
        assert_eq!(ORDER[64..], [63; 16]);
    }
}
