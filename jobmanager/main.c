#include "base/init.h"
#include "jobmanager/io/daemon.h"

int main(int argc, char **argv)
{
    weir_init_if_first();
    return weir_jobmanager_main(argc, argv);
}
