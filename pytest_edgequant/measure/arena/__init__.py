"""The tensor arena: what TFLM needs of SRAM."""
