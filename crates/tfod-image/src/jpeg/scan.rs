//! Scans: entropy-coded coefficients, in blocks of 8x8.
//!
//! What libjpeg makes of damaged data is done here, too: bits that are no code count as zero, blocks without data stay as they are, and decoding goes on at
//! the next marker of a restart.

use super::Problem;
use super::bits::Bits;
use super::headers::{Frame, Headers, ORDER, Part, Scan};
use super::huffman::{Codes, Table, extend};

/// The coefficients of 8x8 samples, row by row.
pub(super) type Block = [i16; 64];

/// How large a component is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// In samples.
    pub(super) size: (usize, usize),
    /// In blocks that hold samples.
    pub(super) blocks: (usize, usize),
    /// In blocks, filled up to whole coded units.
    pub(super) padded: (usize, usize),
}

impl Layout {
    pub(super) fn of(frame: &Frame) -> Vec<Self> {
        let most = frame.sampling();
        let units = units(frame);
        let layout = |sampling: (usize, usize)| {
            let size = (
                (frame.size.0 * sampling.0).div_ceil(most.0),
                (frame.size.1 * sampling.1).div_ceil(most.1),
            );
            Self {
                size,
                blocks: (size.0.div_ceil(8), size.1.div_ceil(8)),
                padded: (units.0 * sampling.0, units.1 * sampling.1),
            }
        };
        let components = frame.components.iter();
        components
            .map(|component| layout(component.sampling))
            .collect()
    }
}

/// How many coded units there are across and down where all components are in one scan.
fn units(frame: &Frame) -> (usize, usize) {
    let most = frame.sampling();
    (
        frame.size.0.div_ceil(8 * most.0),
        frame.size.1.div_ceil(8 * most.1),
    )
}

/// What takes the blocks of a scan: `visit(component, column, row, decode)` gives `decode` the block at that place.
pub(super) trait Blocks {
    fn visit(
        &mut self,
        component: usize,
        column: usize,
        row: usize,
        decode: impl FnOnce(&mut Block) -> Result<(), Problem>,
    ) -> Result<(), Problem>;
}

/// Decodes a scan's blocks, one after the other; afterwards the file is read on from the scan's end.
///
/// # Errors
/// When tables are missing or not valid, and when the file ends.
pub(super) fn decode(
    headers: &mut Headers<'_>,
    frame: &Frame,
    layouts: &[Layout],
    scan: &Scan,
    blocks: &mut impl Blocks,
) -> Result<(), Problem> {
    let coding = Coding::new(headers, frame, scan)?;
    let mut pass = Pass {
        bits: Bits::new(headers.source),
        interval: headers.restart_interval,
        until_restart: headers.restart_interval,
        restart: 0,
        direct: [0; 4],
        run: 0,
    };
    match coding {
        Coding::Sequential(tables) => {
            pass.each(frame, layouts, scan, blocks, |pass, part, block| {
                let (direct, alternating) = &tables[part];
                pass.sequential(part, direct, alternating, block)
            })?;
        }
        Coding::DirectFirst(tables) => {
            pass.each(frame, layouts, scan, blocks, |pass, part, block| {
                pass.direct_first(part, &tables[part], scan.low, block)
            })?;
        }
        Coding::DirectBit => pass.each(frame, layouts, scan, blocks, |pass, _, block| {
            if pass.bits.take(1) == 1 {
                block[0] |= 1 << scan.low;
            }
            Ok(())
        })?,
        Coding::AlternatingFirst(table) => {
            pass.each(frame, layouts, scan, blocks, |pass, _, block| {
                pass.alternating_first(&table, scan, block);
                Ok(())
            })?;
        }
        Coding::AlternatingBit(table) => {
            pass.each(frame, layouts, scan, blocks, |pass, _, block| {
                pass.alternating_bit(&table, scan, block);
                Ok(())
            })?;
        }
    }
    headers.source = pass.bits.source();
    Ok(())
}

/// How a scan is coded, with its tables.
enum Coding {
    Sequential(Vec<(Table, Table)>),
    DirectFirst(Vec<Table>),
    DirectBit,
    AlternatingFirst(Box<Table>),
    AlternatingBit(Box<Table>),
}

impl Coding {
    fn new(headers: &Headers<'_>, frame: &Frame, scan: &Scan) -> Result<Self, Problem> {
        let source = &headers.source;
        let table = |tables: &[Option<Codes>; 4], index: u8, direct| {
            let codes = tables.get(usize::from(index)).and_then(Option::as_ref);
            let codes = codes.ok_or_else(|| {
                source.problem(format!(
                    "a scan needs Huffman table {index}, which is not there"
                ))
            })?;
            Table::new(codes, direct, source)
        };
        let direct = |part: &Part| table(&headers.direct, part.direct, true);
        let alternating = |part: &Part| table(&headers.alternating, part.alternating, false);
        let parts = scan.parts.iter();
        Ok(if !frame.progressive {
            let tables = parts.map(|part| Ok((direct(part)?, alternating(part)?)));
            Self::Sequential(tables.collect::<Result<_, Problem>>()?)
        } else if scan.first == 0 {
            if scan.high == 0 {
                Self::DirectFirst(parts.map(direct).collect::<Result<_, _>>()?)
            } else {
                Self::DirectBit
            }
        } else {
            let table = Box::new(alternating(&scan.parts[0])?);
            if scan.high == 0 {
                Self::AlternatingFirst(table)
            } else {
                Self::AlternatingBit(table)
            }
        })
    }
}

/// What is known in the midst of a scan.
struct Pass<'a> {
    bits: Bits<'a>,
    interval: u16,
    until_restart: u16,
    /// The number of the next restart, from 0 to 7.
    restart: u8,
    /// Of each part, the direct coefficient of the block before, from which the next one is told.
    direct: [i32; 4],
    /// How many blocks have no more coefficients in this scan.
    run: u32,
}

impl Pass<'_> {
    /// Goes through the scan's units and the blocks of each.
    fn each(
        &mut self,
        frame: &Frame,
        layouts: &[Layout],
        scan: &Scan,
        blocks: &mut impl Blocks,
        decode: impl Fn(&mut Self, usize, &mut Block) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        // A scan of one component has its blocks row by row, without those that fill up units.
        let alone = scan.parts.len() == 1;
        let (across, down) = match *scan.parts {
            [part] => layouts[part.component].blocks,
            _ => units(frame),
        };
        let parts = scan.parts.iter().enumerate().map(|(place, part)| {
            let sampling = frame.components[part.component].sampling;
            let sampling = if alone { (1, 1) } else { sampling };
            (place, part.component, sampling)
        });
        let parts: Vec<_> = parts.collect();
        let size: usize = parts.iter().map(|part| part.2.0 * part.2.1).sum();
        if size > 10 {
            return Err(self.bits.problem(format!(
                "its coded units have {size} blocks; JPEG has 10 at most"
            )));
        }
        for row in 0..down {
            for column in 0..across {
                if self.interval > 0 {
                    if self.until_restart == 0 {
                        self.restart()?;
                    }
                    self.until_restart -= 1;
                }
                if self.bits.starved {
                    if self.interval == 0 {
                        return Ok(());
                    }
                    continue;
                }
                for &(place, component, sampling) in &parts {
                    for y in 0..sampling.1 {
                        for x in 0..sampling.0 {
                            let at = (column * sampling.0 + x, row * sampling.1 + y);
                            blocks
                                .visit(component, at.0, at.1, |block| decode(self, place, block))?;
                        }
                    }
                }
                if self.bits.ended {
                    return Err(self.bits.truncated());
                }
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Problem> {
        self.bits.restart(self.restart)?;
        self.restart = (self.restart + 1) & 7;
        self.until_restart = self.interval;
        self.direct = [0; 4];
        self.run = 0;
        Ok(())
    }

    /// The direct coefficient of the next block.
    #[inline]
    fn next_direct(&mut self, part: usize, table: &Table) -> Result<i32, Problem> {
        let length = u32::from(table.read(&mut self.bits));
        let difference = extend(self.bits.take(length), length);
        let Some(direct) = self.direct[part].checked_add(difference) else {
            return Err(self.bits.problem("a direct coefficient is too large"));
        };
        self.direct[part] = direct;
        Ok(direct)
    }

    fn sequential(
        &mut self,
        part: usize,
        direct: &Table,
        alternating: &Table,
        block: &mut Block,
    ) -> Result<(), Problem> {
        block[0] = self.next_direct(part, direct)? as i16;
        let mut at = 1;
        while at < 64 {
            let coded = alternating.coefficient(&mut self.bits);
            if coded.value == 0 {
                if coded.zeros != 15 {
                    break;
                }
                at += 16;
                continue;
            }
            at += usize::from(coded.zeros);
            block[usize::from(ORDER[at])] = coded.value;
            at += 1;
        }
        Ok(())
    }

    fn direct_first(
        &mut self,
        part: usize,
        table: &Table,
        low: u8,
        block: &mut Block,
    ) -> Result<(), Problem> {
        block[0] = (self.next_direct(part, table)? << low) as i16;
        Ok(())
    }

    /// The length of a run of blocks without more coefficients, this one among them.
    fn run_of(&mut self, length: u32) -> u32 {
        (1 << length) + self.bits.take(length)
    }

    fn alternating_first(&mut self, table: &Table, scan: &Scan, block: &mut Block) {
        if self.run > 0 {
            self.run -= 1;
            return;
        }
        let mut at = scan.first;
        while at <= scan.last {
            let code = table.read(&mut self.bits);
            let (zeros, length) = (code >> 4, u32::from(code & 15));
            if length == 0 {
                if zeros != 15 {
                    self.run = self.run_of(u32::from(zeros)) - 1;
                    break;
                }
                at += 16;
                continue;
            }
            at += usize::from(zeros);
            let value = extend(self.bits.take(length), length);
            block[usize::from(ORDER[at])] = (value << scan.low) as i16;
            at += 1;
        }
    }

    /// One more bit of a coefficient that is not zero.
    fn refine(&mut self, coefficient: &mut i16, bit: i16) {
        if self.bits.take(1) == 1 && *coefficient & bit == 0 {
            let step = if *coefficient >= 0 {
                bit
            } else {
                bit.wrapping_neg()
            };
            *coefficient = coefficient.wrapping_add(step);
        }
    }

    fn alternating_bit(&mut self, table: &Table, scan: &Scan, block: &mut Block) {
        let bit = 1_i16 << scan.low;
        let mut at = scan.first;
        if self.run == 0 {
            while at <= scan.last {
                let code = table.read(&mut self.bits);
                let (mut zeros, length) = (code >> 4, code & 15);
                let mut new = 0;
                if length == 0 {
                    if zeros != 15 {
                        self.run = self.run_of(u32::from(zeros));
                        break;
                    }
                } else {
                    new = if self.bits.take(1) == 1 { bit } else { -bit };
                }
                // The zeros that the code counts are passed over, and what is not zero gets its bit.
                while at <= scan.last {
                    let coefficient = &mut block[usize::from(ORDER[at])];
                    if *coefficient != 0 {
                        self.refine(coefficient, bit);
                    } else if zeros == 0 {
                        break;
                    } else {
                        zeros -= 1;
                    }
                    at += 1;
                }
                if new != 0 {
                    block[usize::from(ORDER[at])] = new;
                }
                at += 1;
            }
        }
        if self.run > 0 {
            while at <= scan.last {
                let coefficient = &mut block[usize::from(ORDER[at])];
                if *coefficient != 0 {
                    self.refine(coefficient, bit);
                }
                at += 1;
            }
            self.run -= 1;
        }
    }
}
