//! Any bytes at all: they are a message or an error, never a panic, and what is a message is one either way.

use bytes::Bytes;
use domain::ids::StreamId;
use proptest::prelude::*;
use protocol::{
    FrameError, MAX_FRAME_BYTES, ToAgent, ToServer, decode, encode,
    tunnel::{Control, Frame, MAX_DATA_BYTES, TunnelError},
};
use uuid::Uuid;

fn stream() -> impl Strategy<Value = StreamId> {
    any::<u128>().prop_map(|id| Uuid::from_u128(id).into())
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if let Ok(message) = decode::<ToServer>(&bytes) {
            prop_assert_eq!(decode::<ToServer>(&encode(&message).unwrap()).unwrap(), message);
        }
        if let Ok(message) = decode::<ToAgent>(&bytes) {
            prop_assert_eq!(decode::<ToAgent>(&encode(&message).unwrap()).unwrap(), message);
        }
        if let Ok(frame) = Frame::decode(bytes.into()) {
            prop_assert_eq!(Frame::decode(frame.encode().unwrap()).unwrap(), frame);
        }
    }

    /// Shaped like frames, so that most get past the head.
    #[test]
    fn any_payload_of_any_kind_is_a_frame_or_an_error(
        kind in 0u8..8,
        id in any::<[u8; 16]>(),
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = [&[kind][..], &id, &payload].concat();
        match Frame::decode(bytes.clone().into()) {
            Ok(frame @ (Frame::Data(..) | Frame::ErrorData(..) | Frame::Credit(..))) => {
                prop_assert_eq!(frame.encode().unwrap(), bytes);
            }
            Ok(frame @ (Frame::Open(..) | Frame::Control(..))) => {
                prop_assert_eq!(Frame::decode(frame.encode().unwrap()).unwrap(), frame);
            }
            Err(_) => prop_assert!(!(3..=4).contains(&kind)),
        }
    }

    #[test]
    fn a_tunnel_frame_with_one_wrong_byte_is_a_frame_or_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let terminal = Some(Uuid::nil());
        let mut bytes = Frame::Control(Uuid::nil().into(), Control::Opened { terminal, standing: None }).encode().unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(frame) = Frame::decode(bytes.into()) {
            prop_assert_eq!(Frame::decode(frame.encode().unwrap()).unwrap(), frame);
        }
    }

    #[test]
    fn one_wrong_byte_is_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), seq in any::<u32>()) {
        let message = ToServer::Progress {
            transaction: Uuid::nil().into(),
            seq,
            event: protocol::ProgressEvent::Stdout(vec![1, 2, 3]),
        };
        let mut bytes = encode(&message).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = decode::<ToServer>(&bytes) {
            encode(&message).unwrap();
        }
    }

    #[test]
    fn a_frame_cut_short_is_an_error(length in 0usize..40) {
        let whole = encode(&ToAgent::Offer { transaction: Uuid::nil().into() }).unwrap();
        let cut = length.min(whole.len() - 1);
        prop_assert!(decode::<ToAgent>(&whole[..cut]).is_err());
    }

    #[test]
    fn data_goes_through_unchanged(id in stream(), data in proptest::collection::vec(any::<u8>(), 0..MAX_DATA_BYTES)) {
        let frame = Frame::Data(id, data.into());
        prop_assert_eq!(Frame::decode(frame.encode().unwrap()).unwrap(), frame);
    }

    #[test]
    fn words_go_through_unchanged(id in stream(), why in "\\PC{0,300}", signal in any::<i32>(), bytes in any::<u32>()) {
        for frame in [
            Frame::Control(id, Control::Refused { why: why.clone() }),
            Frame::Control(id, Control::Signal(signal)),
            Frame::Credit(id, bytes),
        ] {
            prop_assert_eq!(Frame::decode(frame.encode().unwrap()).unwrap(), frame);
        }
    }
}

#[test]
fn the_limits_hold() {
    assert!(matches!(decode::<ToServer>(&vec![0; MAX_FRAME_BYTES + 1]), Err(FrameError::TooLarge(_))));
    let long = ToServer::Renew { csr_der: vec![0; MAX_FRAME_BYTES] };
    assert!(matches!(encode(&long), Err(FrameError::TooLarge(_))));
    let data = Frame::Data(Uuid::nil().into(), vec![0; MAX_DATA_BYTES + 1].into());
    assert!(matches!(Frame::decode(data.encode().expect("encodes")), Err(TunnelError::Length(_))));
    for length in 0..17 {
        assert!(matches!(Frame::decode(Bytes::from(vec![3; length])), Err(TunnelError::Length(_))), "{length}");
    }
    assert!(matches!(Frame::decode(Bytes::from(vec![9; 17])), Err(TunnelError::Kind(9))));
    assert!(matches!(Frame::decode(Bytes::from(vec![5; 18])), Err(TunnelError::Length(_))));
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = vec![0x91; 100_000];
    assert!(decode::<ToServer>(&deep).is_err());
    assert!(decode::<ToAgent>(&deep).is_err());
}
