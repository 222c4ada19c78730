/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory order, in one place. Every use names its partner in a comment: an acquire without the release
 * that it pairs with is a bug, and so is the reverse.
 *
 * Shared words are read and written only through these, so that a compiler can neither tear nor repeat
 * an access ("peer data is read once") and ThreadSanitizer understands what it sees.
 */
#ifndef VHX_UTIL_BARRIER_H
#define VHX_UTIL_BARRIER_H

#ifdef VHX_TEST_STORES
/* For tests that look at shared memory behind every single store, as if the process died there. */
void vhx_test_stored(void);
#else
#define vhx_test_stored() ((void)0)
#endif

#define vhx_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define vhx_store_relaxed(p, v) (__atomic_store_n((p), (v), __ATOMIC_RELAXED), vhx_test_stored())
#define vhx_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define vhx_store_release(p, v) (__atomic_store_n((p), (v), __ATOMIC_RELEASE), vhx_test_stored())
#define vhx_fetch_or_release(p, v) __atomic_fetch_or((p), (v), __ATOMIC_RELEASE)

/*
 * Orders an earlier store before a later load of another word (store-load), which neither acquire nor
 * release gives. The wake protocols stand on it; -DVHX_TEST_NO_FENCE takes it out, to show that the
 * lost-wakeup test notices.
 */
static inline void vhx_fence_full(void)
{
#ifndef VHX_TEST_NO_FENCE
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#else
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

/* A spinning reader's pause. */
static inline void vhx_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

#endif
