defmodule Linx.Process.Output do
  @moduledoc false

  # What a workload has written and nobody has had yet, and who is to have it: the owner, in
  # messages; those who ask, one at a time; or nobody.
  #
  # Of each source the agent sends no more than it has credit for, and gets it back for what has been
  # delivered. So what is kept here stays bounded, and a workload whose output nobody wants waits.
  #
  # Nothing happens here: the functions return what is to be done, in this order, as `effects`.

  alias Linx.Process.{Info, Stdio}

  # So many bytes of each source may be on their way.
  @credit 262_144

  # Granted in portions, for each is a message to the agent.
  @portion div(@credit, 4)

  # Pieces are put together up to this size, so that a workload which writes byte by byte does not
  # take many times as much memory.
  @small 4_096

  defstruct sources: %{},
            to: :owner,
            left: :infinity,
            waiting: [],
            seq: 0,
            final: nil,
            told?: false

  @typedoc "`left` of what goes to the owner: how many messages, or all."
  @type t :: %__MODULE__{
          sources: %{Stdio.source() => map},
          to: :owner | :askers | :nobody,
          left: :infinity | :once | non_neg_integer,
          waiting: [{id :: term, want}],
          seq: non_neg_integer,
          final: {last_event :: tuple, Info.t()} | nil,
          told?: boolean
        }

  @type active :: boolean | :once | integer | :discard

  @typedoc "What somebody asks for: one source, any of them, or any and then the end."
  @type want :: Stdio.source() | :any | :next

  @type answer ::
          {:ok, binary}
          | {:ok, {Stdio.source(), binary}}
          | :eof
          | {:output, Stdio.source(), binary}
          | {:ended, Info.t()}
          | {:error, :active | :not_piped}

  @type effect ::
          {:event, tuple}
          | {:answer, id :: term, answer}
          | {:credit, Stdio.source(), pos_integer}

  @doc "How many bytes of each source the agent may send to begin with."
  @spec credit() :: pos_integer
  def credit, do: @credit

  @doc "Nothing yet, of these sources."
  @spec new([Stdio.source()], active) :: t
  def new(sources, active) do
    source = %{queue: :queue.new(), delivered: 0, eof?: false, eof_told?: false}
    mode(%__MODULE__{sources: Map.new(sources, &{&1, source})}, active)
  end

  @doc "The workload has written this."
  @spec put(t, Stdio.source(), binary) :: {[effect], t}
  def put(%{to: :owner, left: :infinity} = output, source, bytes)
      when is_map_key(output.sources, source) do
    # Nothing is kept for an owner who gets everything.
    {effects, output} =
      output |> delivered(source, bytes) |> grant([{:event, event(source, bytes)}])

    {Enum.reverse(effects), output}
  end

  def put(output, source, bytes) when is_map_key(output.sources, source) do
    output |> enqueue(source, bytes) |> deliver([])
  end

  # An agent that says what it was not asked for is not believed.
  def put(output, _source, _bytes), do: {[], output}

  @doc "The workload can write no more to this one."
  @spec eof(t, Stdio.source()) :: {[effect], t}
  def eof(output, source) when is_map_key(output.sources, source) do
    output |> put_in_source(source, :eof?, true) |> deliver([])
  end

  def eof(output, _source), do: {[], output}

  @doc "The workload has ended: what the owner is told then, and who asks for the next thing."
  @spec finish(t, last_event :: tuple, Info.t()) :: {[effect], t}
  def finish(%{waiting: []} = output, last_event, info) when output.sources == %{} do
    {[{:event, last_event}], %{output | final: {last_event, info}, told?: true}}
  end

  def finish(output, last_event, info) do
    sources = Map.new(output.sources, fn {name, source} -> {name, %{source | eof?: true}} end)
    deliver(%{output | sources: sources, final: {last_event, info}}, [])
  end

  @doc """
  Nobody can have more: what is still kept is lost. The owner is told of the end if it has not been.
  """
  @spec abandon(t) :: {[effect], t}
  def abandon(output) do
    {effects, output} = deliver(%{output | to: :nobody}, [])
    {Enum.filter(effects, &match?({:event, _event}, &1)), output}
  end

  @doc "Whether the owner has been told of the end."
  @spec told?(t) :: boolean
  def told?(output), do: output.told?

  @doc """
  Who gets the output from now on. Those who have been waiting for it are answered when it is the
  owner.
  """
  @spec set_active(t, active) :: {:ok, [effect], t} | {:error, :not_piped}
  def set_active(output, _active) when output.sources == %{}, do: {:error, :not_piped}

  def set_active(output, active) do
    output = mode(output, active)
    {effects, output} = spent(output, active, [])
    {effects, output} = deliver(output, effects)
    {:ok, effects, output}
  end

  @doc "What somebody asks for, if it is there; if not, that one may `wait/3`."
  @spec take(t, want) :: {:ok, answer, [effect], t} | :wait
  def take(output, want) do
    cond do
      refused = refuse(output, want) -> {:ok, refused, [], output}
      taken = serve(output, want) -> answered(taken)
      true -> :wait
    end
  end

  defp answered({answer, output}) do
    {effects, output} = deliver(output, [])
    {:ok, answer, effects, output}
  end

  @doc "Somebody waits for what was not there."
  @spec wait(t, id :: term, want) :: t
  def wait(output, id, want), do: %{output | waiting: output.waiting ++ [{id, want}]}

  @doc "Somebody waits no more."
  @spec drop(t, id :: term) :: t
  def drop(output, id), do: %{output | waiting: List.keydelete(output.waiting, id, 0)}

  # Modes

  defp mode(output, true), do: %{output | to: :owner, left: :infinity}
  defp mode(output, :once), do: %{output | to: :owner, left: :once}
  defp mode(output, false), do: %{output | to: :askers, left: 0}
  defp mode(output, :discard), do: %{output | to: :nobody, left: 0}

  # As `:gen_tcp` counts: a number is added to what is left of another.
  defp mode(%{to: :owner, left: left} = output, n) when is_integer(left),
    do: %{output | left: max(left + n, 0)}

  defp mode(output, n), do: %{output | to: :owner, left: max(n, 0)}

  defp spent(%{to: :owner, left: 0} = output, n, effects) when is_integer(n),
    do: {[{:event, {:linx_process, :passive}} | effects], output}

  defp spent(output, _active, effects), do: {effects, output}

  # When the owner has had the messages it wanted, others may ask.
  defp active?(%{to: :owner, left: left}), do: left != 0
  defp active?(_output), do: false

  # Delivery. Effects are collected in reverse.

  defp deliver(output, effects) do
    {effects, output} = hand_out(output, effects)
    {effects, output} = tell_ends(output, effects)
    {effects, output} = grant(output, effects)
    {Enum.reverse(effects), output}
  end

  defp delivered(output, name, bytes) do
    source = Map.fetch!(output.sources, name)
    put_in_source(output, name, :delivered, source.delivered + byte_size(bytes))
  end

  defp hand_out(%{to: :nobody} = output, effects) do
    sources =
      Map.new(output.sources, fn {name, source} ->
        size = source.queue |> :queue.to_list() |> Enum.map(&size/1) |> Enum.sum()
        {name, %{source | queue: :queue.new(), delivered: source.delivered + size}}
      end)

    answer_waiting(%{output | sources: sources}, effects)
  end

  defp hand_out(output, effects) do
    if active?(output), do: to_owner(output, effects), else: answer_waiting(output, effects)
  end

  defp size({_seq, bytes}), do: byte_size(bytes)

  defp to_owner(output, effects) do
    with true <- active?(output),
         {source, bytes, output} <- pop(output, :any) do
      effects = [{:event, event(source, bytes)} | effects]
      {effects, output} = count(output, effects)
      to_owner(output, effects)
    else
      _no_more -> answer_waiting(output, effects)
    end
  end

  defp count(%{left: :infinity} = output, effects), do: {effects, output}
  defp count(%{left: :once} = output, effects), do: {effects, %{output | left: 0}}
  defp count(output, effects), do: spent(%{output | left: output.left - 1}, 0, effects)

  defp event(:pty, bytes), do: {:linx_process, :pty_out, bytes}
  defp event(source, bytes), do: {:linx_process, source, bytes}

  # In the order in which they came; who cannot be served leaves the others their turn.
  defp answer_waiting(%{waiting: []} = output, effects), do: {effects, output}

  defp answer_waiting(%{waiting: waiting} = output, effects) do
    Enum.reduce(waiting, {effects, %{output | waiting: []}}, fn {id, want}, {effects, output} ->
      cond do
        refused = refuse(output, want) -> {[{:answer, id, refused} | effects], output}
        taken = serve(output, want) -> {[{:answer, id, elem(taken, 0)} | effects], elem(taken, 1)}
        true -> {effects, wait(output, id, want)}
      end
    end)
  end

  # The end of a workload can be waited for even when it has no output, or nobody is to have it.
  defp refuse(output, want) do
    cond do
      want == :next and output.to == :nobody -> nil
      want == :any and output.sources == %{} -> {:error, :not_piped}
      want not in [:any, :next] and not is_map_key(output.sources, want) -> {:error, :not_piped}
      output.sources != %{} and (active?(output) or output.to == :nobody) -> {:error, :active}
      true -> nil
    end
  end

  defp serve(output, want) do
    case pop(output, want) do
      {source, bytes, output} -> {answer(want, source, bytes), output}
      nil -> with end_ when end_ != nil <- at_end(output, want), do: {end_, output}
    end
  end

  defp answer(:next, source, bytes), do: {:output, source, bytes}
  defp answer(:any, source, bytes), do: {:ok, {source, bytes}}
  defp answer(_source, _source_too, bytes), do: {:ok, bytes}

  defp at_end(%{final: nil}, :next), do: nil
  defp at_end(%{final: {_last_event, info}}, :next), do: {:ended, info}

  defp at_end(output, :any),
    do: if(Enum.all?(output.sources, fn {_name, source} -> source.eof? end), do: :eof)

  defp at_end(output, source), do: if(output.sources[source].eof?, do: :eof)

  # An owner who gets messages gets them in this order: the data, that there is no more, and at last
  # how the workload has ended.
  defp tell_ends(output, effects) do
    {effects, output} = Enum.reduce(output.sources, {effects, output}, &tell_eof/2)

    if output.final != nil and not output.told? and (output.to != :owner or told_all?(output)) do
      {last_event, _info} = output.final
      {[{:event, last_event} | effects], %{output | told?: true}}
    else
      {effects, output}
    end
  end

  # The end of a terminal is the end of the workload.
  defp tell_eof({:pty, _source}, {effects, output}), do: {effects, output}

  defp tell_eof(
         {name, %{eof?: true, eof_told?: false} = source},
         {effects, %{to: :owner} = output}
       ) do
    if :queue.is_empty(source.queue) do
      {[{:event, {:linx_process, :eof, name}} | effects],
       put_in_source(output, name, :eof_told?, true)}
    else
      {effects, output}
    end
  end

  defp tell_eof(_source, {effects, output}), do: {effects, output}

  defp told_all?(output) do
    Enum.all?(output.sources, fn {_name, source} -> :queue.is_empty(source.queue) end)
  end

  # At the end of a source credit is of no use.
  defp grant(output, effects) do
    Enum.reduce(output.sources, {effects, output}, fn
      {name, %{delivered: n, eof?: false}}, {effects, output} when n >= @portion ->
        {[{:credit, name, n} | effects], put_in_source(output, name, :delivered, 0)}

      _source, {effects, output} ->
        {effects, output}
    end)
  end

  # The queues

  defp enqueue(output, name, bytes) do
    source = Map.fetch!(output.sources, name)

    queue =
      case :queue.peek_r(source.queue) do
        {:value, {seq, last}} when byte_size(last) + byte_size(bytes) <= @small ->
          :queue.in({seq, last <> bytes}, :queue.drop_r(source.queue))

        _large ->
          :queue.in({output.seq, bytes}, source.queue)
      end

    put_in_source(%{output | seq: output.seq + 1}, name, :queue, queue)
  end

  # The oldest piece that is wanted.
  defp pop(output, want) do
    with name when name != nil <- oldest(output.sources, want) do
      source = Map.fetch!(output.sources, name)
      {{:value, {_seq, bytes}}, queue} = :queue.out(source.queue)
      {name, bytes, output |> put_in_source(name, :queue, queue) |> delivered(name, bytes)}
    end
  end

  defp oldest(sources, want) when want in [:any, :next] do
    case for {name, source} <- sources, seq = first(source), do: {seq, name} do
      [] -> nil
      candidates -> candidates |> Enum.min() |> elem(1)
    end
  end

  defp oldest(sources, name), do: if(first(Map.fetch!(sources, name)), do: name)

  defp first(source) do
    case :queue.peek(source.queue) do
      {:value, {seq, _bytes}} -> seq
      :empty -> nil
    end
  end

  defp put_in_source(output, name, key, value) do
    %{output | sources: Map.update!(output.sources, name, &Map.put(&1, key, value))}
  end
end
