#include "textflag.h"

// func sumVectors(b []byte) uint64
TEXT ·sumVectors(SB), NOSPLIT, $0-32
	MOVQ  b_base+0(FP), SI
	MOVQ  b_len+8(FP), CX
	SHRQ  $7, CX          // vectors come in fours
	VPXOR Y0, Y0, Y0      // Y0, Y1: sums of whole words, modulo 2^64
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2      // Y2, Y3: sums of their upper halves
	VPXOR Y3, Y3, Y3

four:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU 64(SI), Y6
	VMOVDQU 96(SI), Y7
	VPADDQ  Y4, Y0, Y0
	VPADDQ  Y5, Y1, Y1
	VPSRLQ  $32, Y4, Y4
	VPSRLQ  $32, Y5, Y5
	VPADDQ  Y6, Y0, Y0
	VPADDQ  Y7, Y1, Y1
	VPSRLQ  $32, Y6, Y6
	VPSRLQ  $32, Y7, Y7
	VPADDQ  Y4, Y2, Y2
	VPADDQ  Y5, Y3, Y3
	VPADDQ  Y6, Y2, Y2
	VPADDQ  Y7, Y3, Y3
	ADDQ    $128, SI
	DECQ    CX
	JNZ     four

	VPADDQ       Y1, Y0, Y0
	VPADDQ       Y3, Y2, Y2
	VEXTRACTI128 $1, Y0, X1
	VEXTRACTI128 $1, Y2, X3
	VPADDQ       X1, X0, X0
	VPADDQ       X3, X2, X2
	VPSRLDQ      $8, X0, X1
	VPSRLDQ      $8, X2, X3
	VPADDQ       X1, X0, X0
	VPADDQ       X3, X2, X2
	MOVQ         X0, AX
	MOVQ         X2, BX
	VZEROUPPER

	// What the lower halves sum to is the rest, which fits.
	MOVQ BX, DX
	SHLQ $32, DX
	SUBQ DX, AX
	ADDQ BX, AX
	MOVQ AX, ret+24(FP)
	RET
