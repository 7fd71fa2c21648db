#include "emulate.h"

#include <stdio.h>
#include <stdlib.h>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATE_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMULATE_ASAN
#endif
#ifdef EMULATE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK = 512 * 1024 };
#else
enum { STACK = 64 * 1024 };
#endif

enum { WARP = 32, MAX_THREADS = 1024, MAX_EXCHANGED = 32 };

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{
enum state { RUNS, WAITS_FOR_WARP, WAITS_FOR_BLOCK, DONE };

struct fiber {
    void *stack;
#if defined(__x86_64__)
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake; /* of address sanitizer */
    enum state state;
    unsigned exchanges;
};

struct warp {
    unsigned waiting;
    alignas(32) char slot[2][WARP][MAX_EXCHANGED]; /* one exchange reads while the next one writes */
};

fiber fibers[MAX_THREADS];
warp warps[MAX_THREADS / WARP];
fiber scheduler;
unsigned current, threads, done, block_waiting;
unsigned place; /* of the current thread in the order in which they run */
int or_next, or_result;
const std::function<void()> *body;
void *dynamic;
unsigned order; /* in which threads run, by its rest */
#ifdef EMULATE_ASAN
const void *scheduler_bottom;
size_t scheduler_size;
bool from_scheduler;
#endif

[[noreturn]] void give_up(const char *what)
{
    fprintf(stderr, "emulated kernel: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    abort();
}

#if defined(__x86_64__)
extern "C" void emulate_switch(void **save, void *load);
asm(".text\n"
    ".type emulate_switch, @function\n"
    "emulate_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size emulate_switch, .-emulate_switch\n");
#endif

void switch_to(fiber *from, fiber *to, bool leaves)
{
    (void)leaves;
#ifdef EMULATE_ASAN
    from_scheduler = from == &scheduler;
    if (to == &scheduler)
        __sanitizer_start_switch_fiber(leaves ? nullptr : &from->fake, scheduler_bottom, scheduler_size);
    else
        __sanitizer_start_switch_fiber(leaves ? nullptr : &from->fake, to->stack, STACK);
#endif
#if defined(__x86_64__)
    emulate_switch(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
#ifdef EMULATE_ASAN
    __sanitizer_finish_switch_fiber(from->fake, nullptr, nullptr);
#endif
}

/* The i-th thread to be looked at, in the order of the device. */
unsigned turn(unsigned i)
{
    switch (order % 3) {
    case 0:
        return i;
    case 1:
        return threads - 1 - i;
    default:
        return (i * 37 + 11) % threads; /* 37 shares no factor with the threads of up to 32 warps */
    }
}

/* From a fiber that waits, or has come to its end, to the next one that can run; back to the scheduler when all are done. */
void pass_on()
{
    fiber *self = &fibers[current];
    bool leaves = self->state == DONE;

    for (unsigned i = 0; i < threads; i++) {
        place = place + 1 < threads ? place + 1 : 0;
        current = turn(place);
        if (fibers[current].state == RUNS) {
            threadIdx = dim3{current, 0, 0};
            switch_to(self, &fibers[current], leaves);
            return;
        }
    }
    if (done < threads)
        give_up("threads wait for others that have left, or that wait elsewhere");
    switch_to(self, &scheduler, leaves);
}

void enter()
{
#ifdef EMULATE_ASAN
    const void *bottom;
    size_t size;

    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (from_scheduler) {
        scheduler_bottom = bottom;
        scheduler_size = size;
    }
#endif
    (*body)();
    fibers[current].state = DONE;
    done++;
    pass_on();
    abort();
}

void prepare(fiber *f)
{
    if (f->stack == nullptr && (f->stack = aligned_alloc(64, STACK)) == nullptr)
        abort();
#ifdef EMULATE_ASAN
    __asan_unpoison_memory_region(f->stack, STACK); /* what the last fiber there left */
#endif
    f->state = RUNS;
    f->exchanges = 0;
    f->fake = nullptr;
#if defined(__x86_64__)
    void **top = (void **)((char *)f->stack + STACK);

    top[-1] = nullptr;
    top[-2] = (void *)enter;
    memset(top - 8, 0, 6 * sizeof *top);
    f->sp = top - 8;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, enter, 0);
#endif
}

void run_block()
{
    done = 0;
    block_waiting = 0;
    or_next = 0;
    for (unsigned t = 0; t < threads; t++)
        prepare(&fibers[t]);
    for (unsigned w = 0; w < threads / WARP; w++)
        warps[w].waiting = 0;
    place = 0;
    current = turn(place);
    threadIdx = dim3{current, 0, 0};
    switch_to(&scheduler, &fibers[current], false);
}

void wait_for_block()
{
    fibers[current].state = WAITS_FOR_BLOCK;
    if (++block_waiting < threads) {
        pass_on();
        return;
    }
    block_waiting = 0;
    or_result = or_next;
    or_next = 0;
    for (unsigned t = 0; t < threads; t++)
        fibers[t].state = RUNS;
}

void wait_for_warp()
{
    warp *w = &warps[current / WARP];

    fibers[current].state = WAITS_FOR_WARP;
    if (++w->waiting < WARP) {
        pass_on();
        return;
    }
    w->waiting = 0;
    for (unsigned t = current / WARP * WARP; t < (current / WARP + 1) * WARP; t++)
        fibers[t].state = RUNS;
}
} // namespace

void emulate_launch(unsigned grid, unsigned block, size_t shared, std::function<void()> kernel)
{
    if (block == 0 || block > MAX_THREADS || block % WARP != 0)
        give_up("a block must be a whole number of warps, at most 1024 threads");
    emulate_settle();
    body = &kernel;
    threads = block;
    blockDim = dim3{block, 1, 1};
    gridDim = dim3{grid, 1, 1};
    for (unsigned b = 0; b < grid; b++) {
        dynamic = malloc(shared > 0 ? shared : 1);
        if (dynamic == nullptr)
            abort();
        memset(dynamic, 0xff, shared);
        blockIdx = dim3{b, 0, 0};
        run_block();
        free(dynamic);
    }
}

void emulate_other_order()
{
    order++;
}

void *emulate_shared()
{
    return dynamic;
}

void __syncthreads()
{
    wait_for_block();
}

int __syncthreads_or(int predicate)
{
    or_next |= predicate != 0;
    wait_for_block();
    return or_result;
}

void __syncwarp(unsigned)
{
    wait_for_warp();
}

const void *emulate_all(const void *value, size_t size)
{
    fiber *f = &fibers[current];
    warp *w = &warps[current / WARP];
    unsigned side = f->exchanges++ % 2;

    if (size > MAX_EXCHANGED)
        give_up("too much at once for a warp's exchange");
    memcpy(w->slot[side][current % WARP], value, size);
    wait_for_warp();
    return w->slot[side];
}

void emulate_exchange(void *value, size_t size, int lane)
{
    const char *all = (const char *)emulate_all(value, size);

    memcpy(value, all + lane * MAX_EXCHANGED, size);
}
