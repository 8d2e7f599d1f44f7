use e1000_model::{Behaviour, ModelConfig};
use e1000_regs::{ICR, ICS, IMC, IMS, ITR, ITR_STEP_NS};
use nook_bus::{IrqKind, PciDevice};

use crate::rig::{MAC, Rig, frame};

#[test]
fn a_cause_fires_once_and_again_after_unmask_while_it_stands() {
    let mut rig = Rig::calm();
    rig.write(IMS, ICR::RXT0);
    rig.cable.push(frame(60, 0));
    assert!(rig.service());
    assert!(!rig.service(), "the line is masked when it fires");
    rig.model.irq_unmask(0).unwrap();
    assert!(rig.service(), "nobody has read ICR");
    assert_eq!(rig.read(ICR) & ICR::RXT0, ICR::RXT0);
    assert_eq!(rig.read(ICR), 0, "reading clears");
    rig.model.irq_unmask(0).unwrap();
    assert!(!rig.service());
}

#[test]
fn a_masked_cause_is_silent_and_kept() {
    let mut rig = Rig::calm();
    rig.write(ICS, ICR::TXDW | ICR::LSC);
    rig.settle();
    assert_eq!(rig.irqs, 0);
    rig.write(IMS, ICR::LSC);
    assert_eq!(rig.read(IMS), ICR::LSC);
    assert!(rig.service());
    rig.write(IMC, ICR::LSC);
    assert_eq!(rig.read(IMS), 0);
    rig.model.irq_unmask(0).unwrap();
    rig.settle();
    assert_eq!(rig.irqs, 1);
    assert_eq!(rig.read(ICR), ICR::TXDW | ICR::LSC);
}

#[test]
fn ones_written_to_the_causes_clear_them() {
    let mut rig = Rig::calm();
    rig.write(ICS, ICR::TXDW | ICR::LSC);
    rig.write(ICR, ICR::LSC);
    assert_eq!(rig.read(ICR), ICR::TXDW);
}

#[test]
fn nothing_is_delivered_while_delivery_is_off() {
    let mut rig = Rig::calm();
    rig.model.irq_disable().unwrap();
    rig.write(IMS, ICR::TXDW);
    rig.write(ICS, ICR::TXDW);
    rig.model.irq_unmask(0).unwrap();
    rig.settle();
    assert_eq!(rig.irqs, 0);
    assert_eq!(rig.model.irq_enable(4).unwrap(), (IrqKind::Intx, 1));
    assert!(rig.service(), "the line stands");
}

#[test]
fn the_line_of_others_fires_now_and_then_without_a_cause() {
    let behaviour = Behaviour { spurious_one_in: 50, ..Behaviour::calm() };
    let mut rig = Rig::with(ModelConfig { mac: MAC, behaviour, ..Default::default() });
    let before = rig.irqs;
    for _ in 0..5000 {
        if rig.service() {
            assert_eq!(rig.read(ICR), 0, "it was not this device");
            rig.model.irq_unmask(0).unwrap();
        }
    }
    assert!((50..200).contains(&(rig.irqs - before)), "{}", rig.irqs - before);
}

#[test]
fn the_throttle_bounds_the_rate_and_due_says_when() {
    let mut rig = Rig::calm();
    let apart_ns = 1000 * ITR_STEP_NS;
    rig.write(ITR, 1000);
    rig.write(IMS, ICR::RXT0);
    let mut fired = Vec::new();
    for number in 0..1000 {
        rig.cable.push(frame(60, number));
        rig.now_ns += 10_000;
        let service = rig.model.service(rig.now_ns).unwrap();
        if service.irqs != 0 {
            fired.push(rig.now_ns);
            rig.read(ICR);
            rig.model.irq_unmask(0).unwrap();
        } else {
            assert_eq!(service.due_ns, Some(fired.last().unwrap() + apart_ns));
        }
        rig.harvest(true);
    }
    assert!(fired.len() > 30);
    assert!(fired.windows(2).all(|pair| pair[1] - pair[0] >= apart_ns));
}
