#include "taskmanager/io/faults.h"

#include "base/fault.h"
#include "base/log.h"

#define POINTS_MAX 256

static void arm(const Weir__Fault *fault)
{
    struct weir_error error;
    weir_err err = *fault->action ? weir_fault_arm(fault->point, fault->action, fault->id, &error)
                                  : weir_fault_reset(fault->id, &error);
    if (err)
        weir_log(WARN, "the JobManager arms a fault point: %s", error.message);
}

void weir_tm_faults_received(const Weir__Control *control)
{
    switch (control->body_case) {
    case WEIR__CONTROL__BODY_FAULT:
        arm(control->fault);
        break;
    case WEIR__CONTROL__BODY_TRIGGER_CHECKPOINT:
        (void)weir_fault("supervisor.trigger-received");
        break;
    case WEIR__CONTROL__BODY_CHECKPOINT_REPORT:
        (void)weir_fault("supervisor.report-received");
        break;
    case WEIR__CONTROL__BODY_COMMIT_OUTPUT:
        (void)weir_fault("supervisor.commit-received");
        break;
    case WEIR__CONTROL__BODY_START_EXECUTOR:
        (void)weir_fault("supervisor.start-received");
        break;
    default:
        break;
    }
}

void weir_tm_faults_sent(const Weir__Control *control)
{
    if (control->body_case == WEIR__CONTROL__BODY_CHECKPOINT_REPORT)
        (void)weir_fault("supervisor.report-sent");
    else if (control->body_case == WEIR__CONTROL__BODY_COMMIT_DONE)
        (void)weir_fault("supervisor.commit-answered");
}

void weir_tm_faults_report(struct weir_line *line)
{
    if (!line || !weir_fault_table_id())
        return;
    struct weir_fault_state states[POINTS_MAX];
    Weir__FaultPoint points[POINTS_MAX], *pointers[POINTS_MAX];
    Weir__Fault fault = WEIR__FAULT__INIT;
    Weir__Control control = WEIR__CONTROL__INIT;
    for (int i = 0; i < POINTS_MAX && weir_fault_get(i, &states[i]); i++) {
        if (!states[i].passes && !states[i].left)
            continue;
        Weir__FaultPoint *point = pointers[fault.n_points++] = &points[i];
        weir__fault_point__init(point);
        point->name = (char *)(uintptr_t)states[i].name;
        point->passes = states[i].passes;
        point->action = states[i].action;
        point->left = states[i].left;
        point->acted = states[i].acted;
        point->pid = states[i].pid;
    }
    fault.table = weir_fault_table_id();
    fault.points = pointers;
    control.version = 1;
    control.body_case = WEIR__CONTROL__BODY_FAULT;
    control.fault = &fault;
    weir_line_send(line, NULL, &control);
}
