// SPDX-License-Identifier: Apache-2.0
// The inline namespace that everything with code lives in, named after the instruction set of the translation unit.
//
// Two translation units built for different instruction sets instantiate the same templates with different code.
// Without a tag in the name the linker keeps one of them, and a program that meant to dispatch by CPU runs AVX-512 on a
// machine that has none.
#pragma once

#if defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512BW__) && \
    defined(__AVX512VL__)
#define HEED_ISA isa_avx512
#elif defined(__AVX2__) && defined(__FMA__)
#define HEED_ISA isa_avx2
#elif defined(__AVX__)
#define HEED_ISA isa_avx
#elif defined(__SSE4_2__)
#define HEED_ISA isa_sse42
#elif defined(__SSE2__) || defined(_M_X64)
#define HEED_ISA isa_sse2
#elif defined(__aarch64__)
#define HEED_ISA isa_neon64
#else
#define HEED_ISA isa_generic
#endif

#if defined(__GNUC__)
#define HEED_INLINE [[gnu::always_inline]] inline
#define HEED_NOINLINE [[gnu::noinline]]
#else
#define HEED_INLINE inline
#define HEED_NOINLINE
#endif
