#include "saediff/optim/schedule.h"

double sd_schedule_rate(const sd_schedule *schedule, uint64_t t)
{
    double up = 1, down = 1;

    if (t < schedule->warmup)
        up = (double)t / (double)schedule->warmup;
    if (t <= schedule->steps && schedule->steps - t < schedule->decay)
        down = (double)(schedule->steps - t + 1) / (double)(schedule->decay + 1);
    return schedule->peak * up * down;
}
