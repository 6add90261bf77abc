//! PNG of a picture.

use super::charts::Picture;

/// Encodes with fixed settings: the same picture gives the same bytes. 192 dpi, so that it is shown at its
/// size in CSS pixels.
pub(super) fn encode(picture: &Picture) -> Vec<u8> {
    let (pixels, width, height) = picture.pixels();
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: 7559, yppu: 7559, unit: png::Unit::Meter }));
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.expect("encoding to memory cannot fail");
    bytes
}
